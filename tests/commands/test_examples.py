"""Everything under examples/ runs as its text says."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import torch

import vitsearch
from tests.commands.running import (
    REPOSITORY,
    TINY,
    TINY_SEARCH,
    files_below,
    read_history,
    run_here,
    run_module,
    run_program,
)
from vitsearch.errors import SpaceError

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(scope="session")
def downstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The downstream project, installed into a folder of its own."""
    target = tmp_path_factory.mktemp("downstream")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    run_program([*pip, EXAMPLES / "downstream"], target)
    return target


def readme_commands() -> list[list[str]]:
    """The training commands of the downstream project's README, as a shell splits them."""
    lines = (EXAMPLES / "downstream" / "README.md").read_text().splitlines()
    return [shlex.split(line) for line in lines if line.startswith("    python -m vitsearch.train")]


def test_readme_has_a_command_for_both_ways() -> None:
    entry_point, searchpath = readme_commands()
    assert "+space=wide_glit" in entry_point
    assert "hydra.searchpath=[pkg://downstream.conf]" in searchpath


@pytest.mark.slow
@pytest.mark.parametrize("words", readme_commands(), ids=["entry_point", "searchpath"])
def test_commands_of_the_readme(words: list[str], downstream: Path, tmp_path: Path) -> None:
    python, dash_m, module, *overrides = words
    assert (python, dash_m) == ("python", "-m")
    trained = run_module(
        module, *overrides, *TINY, folder=tmp_path, PYTHONPATH=_path(downstream)
    ).succeeded()
    assert trained.err == ""
    space = next(word.partition("=")[2] for word in words if word.startswith("+space="))
    assert f"space       {space}, " in trained.out
    checkpoint = torch.load(trained.run / "supernet.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["gamma"] == 1.5
    config = (trained.run / "config.yaml").read_text()
    assert "_target_: downstream.module.FocalClassifier" in config

    # What it leaves needs the downstream project no more.
    network = vitsearch.load_model(trained.run / "best")
    assert network.space.name == space
    assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    searched = run_here("search", f"checkpoint={trained.run}", *TINY_SEARCH, folder=tmp_path / "s")
    assert len(read_history(searched.succeeded().run)) == 8


def test_space_of_the_entry_point_in_python(
    downstream: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(downstream)
    assert "wide_glit" in vitsearch.list_spaces()
    space = vitsearch.build_space("wide_glit", num_blocks=4)
    assert space.name == "wide_glit"
    assert len(space.plan(space.largest()).stages[0].blocks) == 4
    outcome = run_here("train", "+space=wide_gilt", folder=tmp_path / "work")
    assert outcome.code == 2
    assert "did you mean wide_glit?" in outcome.err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", ["broken", "no attribute"]),
        ("offered = 3", ["broken", "must be a mapping", "int"]),
        ("offered = {}", ["image_size"]),
        ("import nowhere_to_be_found", ["broken", "nowhere_to_be_found"]),
        ("def offered(): raise RuntimeError('no luck')", ["broken", "no luck"]),
    ],
)
def test_an_entry_point_that_is_broken(
    source: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "broken-1.0.dist-info").mkdir(parents=True)
    (site / "broken-1.0.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1.0\n")
    (site / "broken-1.0.dist-info" / "entry_points.txt").write_text(
        "[vitsearch.spaces]\nbroken = broken_spaces:offered\n"
    )
    (site / "broken_spaces.py").write_text(source)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "broken_spaces", raising=False)
    assert "broken" in vitsearch.list_spaces()
    assert vitsearch.build_space("glit")  # others are not touched
    with pytest.raises(SpaceError):
        vitsearch.build_space("broken")
    outcome = run_here("train", "+space=broken", folder=tmp_path / "work")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert files_below(tmp_path / "work") == set()


@pytest.mark.slow
def test_plain_trainer(tmp_path: Path) -> None:
    script = EXAMPLES / "plain_trainer.py"
    printed = run_program([sys.executable, script, "--quick", "--folder", "mine"], tmp_path)
    assert "taken out: " in printed
    assert printed.count(" is classified as ") == 5
    best = json.loads((tmp_path / "mine" / "search" / "best.json").read_text())
    low, high = best["constraint"]["macs"]
    assert all(low <= record["macs"] <= high for record in read_history(tmp_path / "mine"))
    assert vitsearch.load_model(tmp_path / "mine" / "best").cost().macs == best["macs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def _path(first: Path) -> str:
    return os.pathsep.join([str(first), *filter(None, [os.environ.get("PYTHONPATH")])])
