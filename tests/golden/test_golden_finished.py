"""Finished runs of an earlier version load, report, can be searched again, and stay finished."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import vitsearch
from tests.commands.running import files_below, run_here
from tests.golden.recipes import NUM_CLASSES, RECIPES
from tests.golden.recording import (
    assert_same_history,
    hash_of,
    recorded,
    search_again,
    unpack,
)


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str, tmp_path: Path) -> Path:
    return unpack(name, "finished", tmp_path)


def test_the_supernet_loads_as_it_was(name: str, run: Path) -> None:
    net = vitsearch.load_supernet(run)
    assert hash_of(net.state_dict()) == recorded("runs")[name]["supernet"]
    assert net.num_classes == NUM_CLASSES
    best = json.loads((run / "search" / "best.json").read_text())
    assert vitsearch.load_model(run).architecture.to_dict() == best["architecture"]
    assert net.space.plan(vitsearch.Architecture.from_dict(best["architecture"])) is not None


def test_the_same_command_says_that_it_is_finished(run: Path, tmp_path: Path) -> None:
    before = files_below(run)
    comment = (run / "config.yaml").read_text().partition("\n")[0]
    *start, module = (word for word in shlex.split(comment)[:4])
    assert [*start, module] == ["#", "python", "-m", "vitsearch.train"]
    for overrides in (shlex.split(comment)[4:], ["resume=run"]):
        outcome = run_here("train", *overrides, folder=tmp_path).succeeded()
        assert "this run is finished, nothing is left to do" in outcome.out
    assert files_below(run) == before


def test_a_report_is_made_again(run: Path, tmp_path: Path) -> None:
    run_here("report", "run=run", folder=tmp_path).succeeded()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert json.loads((run / "search" / "best.json").read_text())["digest"] in page


def test_another_search_finds_what_it_found(name: str, run: Path, tmp_path: Path) -> None:
    outcome, history = search_again(run, tmp_path)
    assert "best architecture" in outcome.out
    assert_same_history(history, recorded("runs")[name]["search_again"])
    assert vitsearch.load_model(tmp_path / "again" / "best").num_classes == NUM_CLASSES
