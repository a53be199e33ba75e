"""How many threads the commands compute with: small networks one, and never against the user."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.commands.running import run_here
from tests.every_space import drawn
from vitsearch import SuperTransformer, build_space
from vitsearch.errors import ConfigError
from vitsearch.lightning import threads
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.threads import (
    AUTO,
    computing_with,
    number_of_threads,
    side_by_side,
    spare_threads,
    usual_threads,
)

CPU = torch.device("cpu")
DEMOS = ("glit", "vitas", "vit_resnas", "autoformer")
PAPERS = ("glit_tiny", "vitas_small", "vit_resnas_tiny", "autoformer_tiny")


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("names", "expected"), [(DEMOS, 1), (PAPERS, 3)])
def test_small_networks_have_one_thread(names: tuple[str, ...], expected: int) -> None:
    for name in names:
        assert number_of_threads(AUTO, build_space(name), CPU) == expected, name


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    assert number_of_threads(AUTO, build_space("glit"), CPU) == 3


def test_other_devices_keep_their_threads() -> None:
    assert number_of_threads(AUTO, build_space("glit"), torch.device("cuda")) == 3


def test_a_number_is_taken_and_others_are_refused() -> None:
    assert number_of_threads(2, build_space("glit_tiny"), CPU) == 2
    for wrong in (0, -1, 1.5, True, "two", None, 100_000):
        with pytest.raises(
            ConfigError, match=r"threads=.* must be a whole number from 1 to 1024, or auto"
        ):
            number_of_threads(wrong, build_space("glit"), CPU)


def test_latency_is_measured_with_the_usual_number() -> None:
    assert usual_threads() == 3
    with computing_with(1):
        assert torch.get_num_threads() == 1
        assert usual_threads() == 3
        with computing_with(usual_threads()):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3


def test_the_panel_and_the_report_say_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    quick = (
        *("+space=glit", "space.num_blocks=1", "trainer.max_steps=1"),
        *("searcher.population=2", "searcher.generations=1", "searcher.parents=1"),
        *("searcher.mutations=0", "searcher.crossovers=0"),
    )
    outcome = run_here("train", *quick, f"run_dir={run}", folder=tmp_path).succeeded()
    assert "1 x cpu, 1 thread, 32-true" in outcome.out
    assert "1 x cpu, 1 thread" in (run / "report.html").read_text()
    assert torch.get_num_threads() == 3
    again = run_here("train", f"resume={run}", "threads=2", folder=tmp_path).succeeded()
    assert "finished" in again.out


def test_candidates_run_side_by_side_on_what_is_left() -> None:
    assert spare_threads() == 1
    with computing_with(1):
        assert spare_threads() == 3
        together = threading.Barrier(3, timeout=60)
        assert side_by_side(lambda item: (together.wait(), 2 * item)[1], [1, 2, 3]) == [2, 4, 6]
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda item: 1 / item, [1, 0])


def test_processes_share_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "rank_and_world", lambda: (0, 2))
    with computing_with(1):
        assert spare_threads() == 1


@pytest.mark.parametrize("name", ["glit", "vit_resnas"])  # with BatchNorm in blocks, in the stem
def test_scores_do_not_depend_on_what_runs_beside(name: str) -> None:
    space, generator = build_space(name), torch.Generator().manual_seed(0)
    shape = (20, space.in_chans, space.image_size, space.image_size)
    batches = [
        (torch.randn(shape, generator=generator), torch.randint(0, 4, (20,), generator=generator))
        for _ in range(2)
    ]
    torch.manual_seed(0)
    net = SuperTransformer(space, 4)
    scorer = Scorer(net, batches, [batches[0][0]], device=CPU)
    chosen = drawn(space, 10)
    with computing_with(1):
        expected = [scorer.score(architecture) for architecture in chosen]
        for _ in range(3):
            assert scorer.scores(chosen) == expected


def test_work_beside_is_in_the_modes_of_this_thread() -> None:
    def modes(_: int) -> tuple[bool, bool, torch.dtype]:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled(), product.dtype

    with computing_with(1):
        for guard in (torch.inference_mode, torch.no_grad, torch.enable_grad):
            for casts in (False, True):
                with guard(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=casts):
                    assert side_by_side(modes, [1, 2, 3]) == [modes(0)] * 3
