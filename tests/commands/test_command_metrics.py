"""Metrics that other packages offer, on the command line: windows, fronts, reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.running import (
    FEW_CANDIDATES,
    SMALL_SPACE,
    TINY_SEARCH,
    Outcome,
    files_below,
    read_history,
    run_here,
    small_space,
)
from tests.metrics_of_ones_own import EXTEND
from vitsearch.costs import forget_metric

HERE = TINY_SEARCH[: -len(FEW_CANDIDATES)]
GOOD = {
    "activation_bytes": "activation_bytes:ACTIVATIONS",
    "cold_start_ms": "cold_start:COLD_START",
}
OFFERED = {**GOOD, "lost": "activation_bytes:lost", "number": "activation_bytes:__name__"}


def offer(folder: Path, points: dict[str, str]) -> Path:
    """Write what an installed package leaves of its entry points; where."""
    info = folder / "site" / "mine-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[vitsearch.metrics]", *lines, ""]))
    return info.parent


@pytest.fixture(autouse=True)
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that offers the metrics of `docs/extend.md`."""
    monkeypatch.syspath_prepend(offer(tmp_path, OFFERED))
    monkeypatch.syspath_prepend(EXTEND)
    yield
    for name in OFFERED:
        forget_metric(name)
    for module in ("activation_bytes", "cold_start"):
        sys.modules.pop(module, None)


def test_a_window_and_a_front(trained: Outcome, tmp_path: Path) -> None:
    arguments = (
        f"checkpoint={trained.run}",
        "constraint.activation_bytes=[null,100K]",
        "constraint.cold_start_ms=[null,1M]",
        "searcher=nsga2",
        "searcher.minimise=[activation_bytes,cold_start_ms]",
        "searcher.population=5",
        "searcher.generations=2",
        "use_test_split=false",
        *HERE,
    )
    outcome = run_here("search", *arguments, folder=tmp_path / "work").succeeded()
    history = read_history(outcome.run)
    assert all(0 < record["activation_bytes"] <= 100_000 for record in history)
    assert all(record["cold_start_ms"] > 0 for record in history)
    for words in ("front of top-1 and activation_bytes, cold_start_ms", "activations, B"):
        assert words in outcome.out
    assert "budget" in outcome.out
    assert "activations 0 to 100 K B, cold start 0 to 1 M ms" in outcome.out

    # A search that goes on, and a report of it, in processes that have not heard of the metric.
    for name in OFFERED:
        forget_metric(name)
    file = outcome.run / "search" / "history.jsonl"
    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[:3]))
    (outcome.run / "finished.json").unlink()
    resumed = f"resume={outcome.run}"
    run_here("search", resumed, folder=tmp_path / "work").succeeded()
    assert file.read_text() == whole
    for name in OFFERED:
        forget_metric(name)
    run_here("report", f"run={outcome.run}", folder=tmp_path / "work").succeeded()
    assert "Accuracy against activations" in (outcome.run / "report.html").read_text()


def test_what_a_space_reaches(tmp_path: Path) -> None:
    offer(tmp_path, GOOD)
    outcome = run_here("describe", *SMALL_SPACE, "format=json", folder=tmp_path / "work")
    costs = json.loads(outcome.succeeded().out)["costs"]
    assert list(costs) == ["macs", "params", "activation_bytes"]
    space = small_space()
    ends = [
        space.extreme("activation_bytes", largest=end, num_classes=10)[1]["activation_bytes"]
        for end in (False, True)
    ]
    found = costs["activation_bytes"]
    assert [found["smallest"], found["largest"]] == ends
    assert found["smallest"] <= found["mean"] <= found["largest"]
    shown = run_here("describe", *SMALL_SPACE, folder=tmp_path / "work").succeeded().out
    assert "activations, B" in shown


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("constraint.lost=[1,2]",), "metric lost (activation_bytes:lost) cannot be loaded"),
        (
            ("constraint.number=[1,2]",),
            "metric number (activation_bytes:__name__) must be a Metric",
        ),
        (("constraint.activation_bytes=[2,1]",), "constraint.activation_bytes=[2, 1] is empty"),
        (
            ("constraint.activation_bytes=[1,2]",),
            "constraint.activation_bytes=[1, 2] cannot be met",
        ),
        (("constraint.flops=[1,2]",), "constraint.flops=[1,2]: flops is no metric"),
    ],
)
def test_windows_that_cannot_be(
    overrides: tuple[str, ...], words: str, trained: Outcome, tmp_path: Path
) -> None:
    outcome = run_here(
        "search", f"checkpoint={trained.run}", *overrides, *HERE, folder=tmp_path / "work"
    )
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert words in line
    assert files_below(tmp_path / "work") == set()
