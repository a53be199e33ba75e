"""Runs of an earlier version, ended by SIGKILL: they go on, and end as the undisturbed one did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import vitsearch
from tests.commands.killing import weights
from tests.commands.running import files_below, read_history, run_here, run_module
from tests.golden.recipes import RECIPES
from tests.golden.recording import (
    assert_same_history,
    is_same_machine,
    unpack,
    without_format,
)

STATES = ("in_training", "in_search")


def assert_ends_alike(run: Path, finished: Path, name: str) -> None:
    """The same results in the run folder, and in that of its first phase."""
    for place in dict.fromkeys(("", RECIPES[name].phase)):
        one, other = run / place, finished / place
        assert_same_history(read_history(one), read_history(other))
        if not is_same_machine():
            continue
        for file in ("search/history.jsonl", "search/best.json", "metrics.csv"):
            assert without_format(one / file) == (other / file).read_bytes(), file
        assert weights(one) == weights(other)
        for load in (vitsearch.load_supernet, vitsearch.load_model):
            expected = load(other).state_dict()
            found = load(one).state_dict()
            assert list(found) == list(expected)
            assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items())
    assert _without_reports(run) == files_below(finished)


def _without_reports(run: Path) -> set[str]:
    reports = {"report", "report.html"}
    return {file for file in files_below(run) if not reports & set(Path(file).parts)}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_run_goes_on(name: str, state: str, tmp_path: Path) -> None:
    run = unpack(name, state, tmp_path)
    finished = unpack(name, "finished", tmp_path / "finished")
    assert not (run / "finished.json").exists()
    outcome = run_here("train", "resume=run", "callbacks.search.report=false", folder=tmp_path)
    assert "going on with the training of this folder" in outcome.succeeded().out
    assert ("going on with the search after " in outcome.out) == (state == "in_search")
    assert_ends_alike(run, finished, name)
    assert json.loads((run / "finished.json").read_text())["finished"] is True


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_command_goes_on_too(name: str, tmp_path: Path) -> None:
    """It is compared with the settings in the folder; what has been added since must not matter."""
    run = unpack(name, "in_search", tmp_path)
    finished = unpack(name, "finished", tmp_path / "finished")
    overrides = (*RECIPES[name].overrides(), "callbacks.search.report=false", "run_dir=run")
    run_here("train", *overrides, folder=tmp_path).succeeded()
    assert_ends_alike(run, finished, name)


@pytest.mark.parametrize("name", RECIPES)
def test_old_settings_are_those_of_the_day(name: str, tmp_path: Path) -> None:
    """They name classes and settings that may be gone: a run that has them goes on all the same."""
    run = unpack(name, "in_training", tmp_path)
    config = OmegaConf.load(run / "config.yaml")
    assert config["model"]["execution"] == "auto"
    progress = config["callbacks"]["progress"]["_target_"]
    assert progress == "vitsearch.lightning.progress.training_progress"
    checkpoint = run / RECIPES[name].phase / "supernet.ckpt"
    saved = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert saved["execution"] == "auto"


@pytest.mark.slow
def test_the_real_command_goes_on(tmp_path: Path) -> None:
    run = unpack("glit_in_phases", "in_training", tmp_path)
    finished = unpack("glit_in_phases", "finished", tmp_path / "finished")
    run_module("vitsearch.train", "resume=run", folder=tmp_path).succeeded()
    assert_ends_alike(run, finished, "glit_in_phases")
    assert (run / "report.html").is_file()
