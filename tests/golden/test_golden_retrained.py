"""A retraining of an earlier version, whole and ended by SIGKILL; the run that it is of is gone."""

from __future__ import annotations

from pathlib import Path

import torch

import vitsearch
from tests.commands.running import files_below, run_here
from tests.golden.recording import assert_same_logits, is_same_machine, logits_of, recorded, unpack


def test_a_retrained_network_says_what_it_said(tmp_path: Path) -> None:
    run = unpack("retrained", "finished", tmp_path)
    expected = recorded("runs")["vit_resnas_with_glit"]["retrained"]
    assert_same_logits(logits_of(vitsearch.load_model(run)), expected)
    outcome = run_here("retrain", "resume=retrained", folder=tmp_path).succeeded()
    assert "this run is finished, nothing is left to do" in outcome.out
    evaluation = ("model=retrained", "split=search", "speed=null")
    run_here("evaluate", *evaluation, folder=tmp_path).succeeded()
    assert (run / "evaluation").is_dir()


def test_a_killed_retraining_goes_on(tmp_path: Path) -> None:
    run = unpack("retrained", "in_training", tmp_path)
    finished = unpack("retrained", "finished", tmp_path / "finished")
    assert not (run / "finished.json").exists()
    outcome = run_here("retrain", "resume=retrained", folder=tmp_path).succeeded()
    assert "going on" in outcome.out
    assert files_below(run) == files_below(finished)
    if is_same_machine():
        assert (run / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
        expected = vitsearch.load_model(finished).state_dict()
        for name, tensor in vitsearch.load_model(run).state_dict().items():
            assert torch.equal(tensor, expected[name]), name
