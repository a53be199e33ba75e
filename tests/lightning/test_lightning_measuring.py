"""Measured costs in a search: measured once, by one process, known to all, kept in a file."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lightning.conftest import quiet_trainer
from tests.lightning.shards import run_shards
from tests.lightning.test_lightning_search import TINY, history_of, make_scorer
from vitsearch.costs import Constraint, MeasureSettings
from vitsearch.data import FashionMini
from vitsearch.errors import (
    CheckpointError,
    ConfigError,
    ConstraintError,
    HistoryError,
    VitSearchError,
)
from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search import measurements as module
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.reports import SearchProgress
from vitsearch.runs import signals
from vitsearch.runs.layout import MEASURED_FILE
from vitsearch.searchers import EvolutionSearcher
from vitsearch.spaces import Architecture, SearchSpace, build_space

CPU = torch.device("cpu")


def measurements(space: SearchSpace, file: Path | None = None, **settings: Any) -> Measurements:
    return Measurements(space, 10, MeasureSettings(**settings), search_device=CPU, file=file)


class Machine:
    """Takes the place of what measures, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []

        def measure(this: Measurements, metric: str, architecture: Architecture) -> float:
            self.asked.append((metric, architecture.digest))
            return self.value(metric, architecture)

        monkeypatch.setattr(Measurements, "_measure", measure)

    @staticmethod
    def value(metric: str, architecture: Architecture) -> float:
        return int(architecture.digest[:6], 16) / 16**6 + (metric == "memory_mb") + 0.1


def test_measures_for_real(space: SearchSpace) -> None:
    measured = measurements(space, repeats=2, warmup=1, batch_size=2)
    found = {name: measure(space.largest()) for name, measure in measured.measures().items()}
    assert set(found) == {"latency_ms", "memory_mb"}
    assert all(value > 0 for value in found.values())


def test_each_architecture_is_measured_once(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    drawn = [space.sample(random.Random(seed)) for seed in range(4)]
    file = tmp_path / "search" / "measured.json"
    first = measurements(space, file)
    values = [first.value("latency_ms", a) for a in drawn]
    assert [first.value("latency_ms", a) for a in drawn] == values
    assert first.value("memory_mb", drawn[0]) != values[0]
    assert len(machine.asked) == 5
    # Another search of the same run folder finds the numbers there,
    machine.asked.clear()
    second = measurements(space, file)
    assert [second.value("latency_ms", a) for a in drawn] == values
    assert machine.asked == []
    # under the circumstances in which they were taken, and leaves the others alone.
    other = measurements(space, file, batch_size=8)
    other.value("latency_ms", drawn[0])
    assert machine.asked == [("latency_ms", drawn[0].digest)]
    entries = json.loads(file.read_text())
    assert [entry["circumstances"]["batch_size"] for entry in entries] == [1, 8]
    assert measurements(space, file).value("latency_ms", drawn[0]) == values[0]
    assert len(machine.asked) == 1


def test_circumstances_name_what_numbers_depend_on(space: SearchSpace) -> None:
    base = measurements(space).circumstances()
    assert base["device"].startswith("cpu")
    assert base["threads"] == torch.get_num_threads()
    for changed in (
        measurements(space, dtype="bfloat16"),
        measurements(space, repeats=3),
        measurements(space.resized(image_size=32)),
        Measurements(space, 11, MeasureSettings(), search_device=CPU),
    ):
        assert changed.circumstances() != base
    assert measurements(space, device="cpu").circumstances() == base  # what auto stands for here


def test_a_file_that_is_damaged(space: SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    for text in ("{", "[1]", '[{"values": {}}]'):
        file.write_text(text)
        with pytest.raises(CheckpointError, match=r"measured\.json cannot be read"):
            measurements(space, file).value("latency_ms", space.smallest())


def test_devices_that_are_not_there(space: SearchSpace) -> None:
    device = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConstraintError, match=f"constraint.measure.device={device}: there is no"):
        measurements(space, device=device)


def test_memory_on_a_device_that_does_not_tell(space: SearchSpace) -> None:
    measured = measurements(space)
    measured.device = torch.device("meta")
    with pytest.raises(ConstraintError, match="memory_mb cannot be measured on meta"):
        measured.value("memory_mb", space.smallest())


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_first_process_measures_for_all(
    world: int, space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    drawn = [space.sample(random.Random(seed)) for seed in range(3)]
    file = tmp_path / "measured.json"
    before = measurements(space, file)
    before.value("latency_ms", drawn[0])
    machine.asked.clear()

    def work(rank: int) -> list[float]:
        measured = measurements(space, file if rank == 0 else None)
        return [measured.value("latency_ms", a) for a in (*drawn, drawn[1])]

    found = run_shards(monkeypatch, [module], world, work)
    expected = [Machine.value("latency_ms", a) for a in (*drawn, drawn[1])]
    assert found == [expected] * world
    assert machine.asked == [("latency_ms", a.digest) for a in drawn[1:]]


def test_a_failure_of_the_first_process_is_everybodys(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> float:
        raise ConstraintError("no luck")

    monkeypatch.setattr(Measurements, "_measure", fail)
    first, second = run_shards(
        monkeypatch,
        [module],
        2,
        lambda rank: measurements(space).value("latency_ms", space.smallest()),
    )
    assert isinstance(first, ConstraintError)
    assert isinstance(second, VitSearchError)
    assert "no luck" in str(second)


def test_a_search_inside_measured_windows(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    machine = Machine(monkeypatch)
    windows = {"latency_ms": [0.2, 0.8], "memory_mb": [None, 1.9], "measure": {"batch_size": 4}}
    for name in ("first", "second"):
        (tmp_path / "search" / "history.jsonl").unlink(missing_ok=True)
        search = EvolutionarySearch(windows, TINY, use_test_split=False, report=False)
        trainer = quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=0, callbacks=[search])
        trainer.fit(module, datamodule=data)
        history = history_of(tmp_path)
        if name == "first":
            assert len(machine.asked) == len(set(machine.asked)) > len(history)
            machine.asked.clear()
            expected = history
    assert machine.asked == []  # the second search found them in the run folder
    assert history == expected
    for record in history:
        architecture = Architecture.from_dict(record["architecture"])
        for metric in ("latency_ms", "memory_mb"):
            assert record[metric] == Machine.value(metric, architecture)
        assert 0.2 <= record["latency_ms"] <= 0.8
        assert record["memory_mb"] <= 1.9
    best = json.loads((tmp_path / "search" / "best.json").read_text())
    assert best["constraint"]["latency_ms"] == [0.2, 0.8]
    assert best["constraint"]["measure"]["batch_size"] == 4
    assert "(batch 4, float32, device auto)" in capsys.readouterr().out


def measured_search(
    folder: Path, module: SearchableClassifier, scorer: Scorer, **settings: Any
) -> None:
    constraint = Constraint(latency_ms=(0.2, 0.8), measure=MeasureSettings(**settings))
    file = folder / MEASURED_FILE
    measured = Measurements(module.space, 10, constraint.measure, search_device=CPU, file=file)
    searcher = EvolutionSearcher(
        module.space, constraint, num_classes=10, measure=measured.measures(), **TINY
    )
    job = SearchJob(
        scorer=scorer,
        searcher=searcher,
        folder=folder,
        constraint=constraint,
        measurements=measured,
    )
    run_search(job, SearchProgress(searcher.num_candidates, None))


def test_a_measured_search_goes_on_with_the_numbers_that_it_had(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path, monkeypatch: Any
) -> None:
    data.setup("fit")
    scorer = make_scorer(module, data)
    Machine(monkeypatch)
    measured_search(tmp_path, module, scorer)
    history = tmp_path / "search" / "history.jsonl"
    whole = history.read_text()
    history.write_text("".join(whole.splitlines(keepends=True)[:8]))
    machine = Machine(monkeypatch)
    monkeypatch.setattr(Machine, "value", lambda *_: 0.5)  # a clock never says it twice
    measured_search(tmp_path, module, scorer)
    assert history.read_text() == whole
    assert machine.asked == []
    with pytest.raises(HistoryError, match=r"measured\.batch_size was 1, is 8"):
        measured_search(tmp_path, module, scorer, batch_size=8)


def test_an_end_that_is_wished_keeps_the_numbers_so_far(
    space: SearchSpace, tmp_path: Path, monkeypatch: Any
) -> None:
    Machine(monkeypatch)
    file = tmp_path / "measured.json"
    measured = measurements(space, file)
    measured.value("latency_ms", space.smallest())
    monkeypatch.setattr(signals, "wished", lambda: signal.SIGTERM)
    assert measured.value("latency_ms", space.smallest()) > 0  # known: nothing takes long
    with pytest.raises(signals.Interrupted):
        measured.value("latency_ms", space.largest())
    assert list(json.loads(file.read_text())[0]["values"]["latency_ms"]) == [
        space.smallest().digest
    ]


def test_what_cannot_be_measured_is_refused_before_training(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    device = f"cuda:{torch.cuda.device_count()}"
    search = EvolutionarySearch({"latency_ms": [1, 2], "measure": {"device": device}}, TINY)
    trainer = quiet_trainer(tmp_path, callbacks=[search])
    with pytest.raises(ConstraintError, match="no such device"):
        trainer.fit(module, datamodule=data)
    assert list(tmp_path.iterdir()) == []


def test_a_searcher_of_ones_own_may_not_know_of_measuring(module: SearchableClassifier) -> None:
    def own(space: SearchSpace, constraint: Any, *, num_classes: int) -> Any:
        raise AssertionError("not made")

    search = EvolutionarySearch({"latency_ms": [1, 2]}, own)
    with pytest.raises(ConfigError, match=r"no parameter `measure`.*constraint\.latency_ms"):
        search.check(module)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_measurement_is_refused(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    space = build_space("glit", num_blocks=1)
    monkeypatch.setitem(module._OWN, "latency_ms", lambda subject: value)
    with pytest.raises(ConstraintError, match=r"latency_ms of architecture .* must be a number, 0"):
        measurements(space).value("latency_ms", space.smallest())
