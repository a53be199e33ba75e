"""Searchers by name: fronts, and searchers that other packages offer."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.commands.running import (
    FEW_CANDIDATES,
    TINY_SEARCH,
    Outcome,
    files_below,
    read_history,
    run_here,
    run_module,
)

HERE = TINY_SEARCH[: -len(FEW_CANDIDATES)]
MINE = '''
from vitsearch.searchers import RandomSearcher


def make(space, constraint, *, num_classes, measure=None, at_most=3, words=("a", "b"), seed=0):
    """A searcher of one's own: few random architectures."""
    assert words == ["a", "b"]
    return RandomSearcher(
        space, constraint, population=at_most, seed=seed, num_classes=num_classes, measure=measure
    )


not_callable = 3
'''


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers searchers."""
    site = tmp_path / "site"
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vitsearch.searchers]\n"
        "mine = my_searchers:make\n"
        "number = my_searchers:not_callable\n"
        "lost = my_searchers:lost\n"
    )
    (site / "my_searchers.py").write_text(MINE)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "my_searchers", raising=False)


@pytest.mark.usefixtures("offered")
def test_a_searcher_of_another_package(trained: Outcome, tmp_path: Path) -> None:
    arguments = (f"checkpoint={trained.run}", "searcher=mine", "use_test_split=false", *HERE)
    histories = []
    for name, more in (("a", ()), ("b", ("searcher.at_most=5",)), ("c", ("seed=3",))):
        outcome = run_here("search", *arguments, *more, folder=tmp_path / name)
        histories.append(read_history(outcome.succeeded().run))
    assert [len(history) for history in histories] == [3, 5, 3]
    assert histories[1][:3] == histories[0] != histories[2]


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("searcher=number",), ("searcher number (my_searchers:not_callable)", "int")),
        (("searcher=lost",), ("searcher lost (my_searchers:lost) cannot be loaded", "lost")),
        (("searcher=nope",), ("searcher=nope", "evolution", "lost", "mine", "nsga2", "random")),
        (("searcher=mine", "searcher.at_most=0"), ("population=0",)),
    ],
)
def test_searchers_that_cannot_be(
    overrides: tuple[str, ...], words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    arguments = (f"checkpoint={trained.run}", *overrides, *HERE)
    outcome = run_here("search", *arguments, folder=tmp_path / "work")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert all(word in line for word in words), line
    assert files_below(tmp_path / "work") == set()


def test_a_front_from_the_command_line(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_here(
        "search",
        f"checkpoint={trained.run}",
        "searcher=nsga2",
        "searcher.minimise=[params,macs]",
        "use_test_split=false",
        "searcher.population=6",
        "searcher.generations=2",
        *HERE,
        folder=tmp_path,
    ).succeeded()
    front = json.loads((outcome.run / "search" / "front.json").read_text())
    assert front["minimise"] == ["params", "macs"]
    digests = {record["digest"] for record in read_history(outcome.run)}
    assert {record["digest"] for record in front["front"]} <= digests
    assert "front of top-1 and params, macs" in outcome.out


NAMED = {
    "local_search": ("searcher.candidates=7", "searcher.neighbours=2"),
    "optuna": ("searcher.population=3", "searcher.generations=3", "searcher.batch=2"),
    "predictor": ("searcher.population=3", "searcher.generations=3", "searcher.batch=2"),
    "regularized_evolution": (
        "searcher.candidates=7",
        "searcher.population=3",
        "searcher.batch=2",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_guided_search_goes_on_from_its_history(
    name: str, trained: Outcome, tmp_path: Path
) -> None:
    arguments = (f"checkpoint={trained.run}", f"searcher={name}", *NAMED[name], *HERE)
    more = ("use_test_split=false", "halving=true")
    run_here("search", *arguments, *more, "run_dir=whole", folder=tmp_path).succeeded()
    whole = read_history(tmp_path / "whole")
    assert len({line["digest"] for line in whole}) == len(whole) == 7
    assert len({line["generation"] for line in whole}) > 2
    before, after = (tmp_path / run / "search" for run in ("whole", "killed"))
    after.mkdir(parents=True)
    lines = (before / "history.jsonl").read_bytes().splitlines(keepends=True)
    (after / "history.jsonl").write_bytes(b"".join(lines[:4]))  # in the second generation
    shutil.copy(before / "settings.json", after)
    shutil.copy(before.parent / "config.yaml", after.parent)
    run_here("search", *arguments, *more, "run_dir=killed", folder=tmp_path).succeeded()
    assert (after / "history.jsonl").read_bytes() == b"".join(lines)


@pytest.mark.slow
def test_two_processes_measure_and_halve_like_one(trained: Outcome, tmp_path: Path) -> None:
    measured = ("constraint.latency_ms=[null,10K]", "constraint.measure.repeats=2", "halving=true")
    arguments = (f"checkpoint={trained.run}", "use_test_split=false", *measured, *TINY_SEARCH)
    two = ("trainer.devices=2", "trainer.strategy=ddp", "run_dir=both")
    run_module("vitsearch.search", *arguments, *two, folder=tmp_path).succeeded()
    (tmp_path / "alone" / "search").mkdir(parents=True)
    file = Path("search") / "measured.json"  # the same numbers: a clock never says them twice
    shutil.copy(tmp_path / "both" / file, tmp_path / "alone" / file)
    run_here("search", *arguments, "run_dir=alone", folder=tmp_path).succeeded()
    for name in ("search/history.jsonl", "search/best.json", "search/measured.json"):
        one, other = tmp_path / "alone" / name, tmp_path / "both" / name
        assert one.read_bytes() == other.read_bytes(), name
