"""The parts that survival is made of: signals, the pace of checkpoints, metrics, generators."""

from __future__ import annotations

import io
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vitsearch.lightning.resuming.checkpoint_schedule import Pace
from vitsearch.lightning.resuming.metrics_csv import MetricsFile
from vitsearch.lightning.resuming.trainer_state import generator_states, restore_generators
from vitsearch.runs import signals

CPU = torch.device("cpu")


def send(signum: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(0.01)  # handlers run between two instructions


@pytest.mark.parametrize("signum", signals.SIGNALS)
def test_a_signal_ends_at_once_unless_it_is_deferred(signum: int) -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    name = signal.Signals(signum).name
    with signals.listening(speaks=False), pytest.raises(signals.Interrupted, match=name):
        send(signum)
    with signals.listening(speaks=False):
        with signals.deferred():
            assert signals.wished() == 0
            send(signum)
            assert signals.wished() == signum
            send(signum)  # an echo
        assert signals.wished() == signum
    assert signals.wished() == 0
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


class Finaliser:
    """Gets a signal where Python drops what is raised."""

    def __del__(self) -> None:
        send()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_came_in_a_finaliser_is_not_lost() -> None:
    with signals.listening(speaks=False):
        signals.end_if_wished()
        waste = [Finaliser()]
        waste.clear()
        with pytest.raises(signals.Interrupted):
            signals.end_if_wished()


def test_the_second_signal_kills() -> None:
    child = os.fork()
    if child == 0:
        with signals.listening(speaks=False), signals.deferred():
            send()
            time.sleep(0.6)
            send()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGINT


def test_workers_leave_signals_to_the_first_process() -> None:
    with signals.listening(speaks=False):
        child = os.fork()
        if child == 0:
            send()  # a terminal sends it to every process
            os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_without_a_listener_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals.deferred():
        assert signal.getsignal(signal.SIGINT) is before
    assert not signals.wished()


def test_pace_by_steps_and_by_seconds() -> None:
    pace = Pace(seconds=None, steps=3)
    assert [pace.after_step(CPU).write for _ in range(4)] == [False, False, True, True]
    pace.wrote(0.0)
    assert not pace.after_step(CPU).write
    pace = Pace(seconds=0.05, steps=None)
    assert not pace.after_step(CPU).write
    time.sleep(0.06)
    assert pace.after_step(CPU).write
    pace.wrote(0.01)  # writing may take a fiftieth of the time
    time.sleep(0.06)
    assert not pace.after_step(CPU).write


def test_pace_passes_signals_on() -> None:
    pace = Pace(seconds=None, steps=None)
    with signals.listening(speaks=False), signals.deferred():
        assert not pace.after_step(CPU).write
        send(signal.SIGTERM)
        decision = pace.after_step(CPU)
        assert (decision.write, decision.signum) == (True, signal.SIGTERM)
        assert pace.agree(CPU).signum == signal.SIGTERM


def draws() -> tuple[float, ...]:
    return (
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        float(torch.rand(())),
    )


def test_generators_go_on_where_they_were() -> None:
    draws()
    file = io.BytesIO()
    torch.save(generator_states(CPU), file)
    file.seek(0)
    expected = [draws() for _ in range(3)]
    restore_generators(torch.load(file, weights_only=True), CPU)
    assert [draws() for _ in range(3)] == expected


def rows(logger: MetricsFile, steps: range, **more: float) -> None:
    for step in steps:
        logger.log_metrics({"loss": 1 / (step + 1), **more}, step=step)
        logger.save()


def make(folder: Path) -> MetricsFile:
    return MetricsFile(folder, name="", version="")


def test_metrics_go_on_after_the_rows_of_the_checkpoint(tmp_path: Path) -> None:
    straight = make(tmp_path / "straight")
    rows(straight, range(3))
    state = straight.state_dict()
    assert state == {"rows": 3}
    (tmp_path / "on").mkdir()
    rows(straight, range(3, 5), accuracy=0.5)
    text = (tmp_path / "straight" / "metrics.csv").read_bytes()
    for killed in (
        text,
        text[:-4],
        text.splitlines(keepends=True)[0] + b"".join(text.splitlines(keepends=True)[1:4]),
    ):
        (tmp_path / "on" / "metrics.csv").write_bytes(killed)
        logger = make(tmp_path / "on")
        logger.load_state_dict(state)
        rows(logger, range(3, 5), accuracy=0.5)
        logger.finalize("success")
        assert (tmp_path / "on" / "metrics.csv").read_bytes() == text
        assert logger.state_dict() == {"rows": 5}


def test_metrics_of_a_new_training_replace_older_ones(tmp_path: Path) -> None:
    rows(make(tmp_path), range(3), old=1.0)
    logger = make(tmp_path)
    assert logger.state_dict() == {"rows": 0}
    rows(logger, range(2))
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["loss,step", "1.0,0", "0.5,1"]
