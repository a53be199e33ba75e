"""A search in phases: each decides what it frees, later ones go on from its result."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.commands.killing import end, kill_when, lines_of, results, start, weights
from tests.commands.running import SMALL_SPACE, TINY, Outcome, files_below, run_here
from tests.commands.test_command_errors import refused
from tests.commands.test_command_launch import both, texts
from vitsearch import load_model, load_supernet

HEADS = "{name:heads,free:*.global_heads,hold:{*.local_expansion:1}}"
DETAILS = "{name:details,free:[*.kernel_size,*.*_expansion,*.mlp_ratio]"


def phased(folder: Path, *more: str, details: str = DETAILS + "}") -> Outcome:
    phases = f"searcher.phases=[{HEADS},{details}]"
    run_dir = f"run_dir={folder / 'run'}"
    return run_here("train", *SMALL_SPACE, *TINY, phases, run_dir, *more, folder=folder)


def records(folder: Path) -> list[dict]:
    text = (folder / "search" / "history.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["architecture"] for line in text.splitlines()]


@pytest.mark.parametrize("supernet", ["new", "continue"])
def test_the_second_phase_keeps_what_the_first_decided(supernet: str, tmp_path: Path) -> None:
    outcome = phased(tmp_path, details=f"{DETAILS},supernet:{supernet}}}").succeeded()
    assert "heads" in outcome.out
    assert "details" in outcome.out
    run, first = tmp_path / "run", tmp_path / "run" / "phases" / "heads"
    decided = json.loads((first / "search" / "best.json").read_text())["architecture"]
    names = [name for name in decided if name.endswith("global_heads")]
    assert len(names) == 2
    for architecture in records(run):
        assert {name: architecture[name] for name in names} == {n: decided[n] for n in names}
    tried = {tuple(a[name] for name in names) for a in records(first)}
    assert len(tried) > 1
    assert all(a.get("stages.0.blocks.0.local_expansion", 1) == 1 for a in records(first))
    spaces = [load_supernet(folder).space for folder in (first, run)]
    assert (spaces[0] == spaces[1]) == (supernet == "continue")
    assert load_model(run / "best").architecture.to_dict() in records(run)
    assert (
        "nothing is left to do"
        in phased(tmp_path, details=f"{DETAILS},supernet:{supernet}}}").succeeded().out
    )


def test_a_finished_phase_is_not_run_again(tmp_path: Path) -> None:
    phased(tmp_path).succeeded()
    run = tmp_path / "run"
    history = (run / "search" / "history.jsonl").read_bytes()
    first = (run / "phases" / "heads" / "supernet.ckpt").read_bytes()
    for name in ("finished.json", "supernet.ckpt", "search/history.jsonl", "search/settings.json"):
        (run / name).unlink()
    outcome = phased(tmp_path).succeeded()
    assert "heads" not in outcome.out.replace("global heads", "")
    assert (run / "search" / "history.jsonl").read_bytes() == history
    assert (run / "phases" / "heads" / "supernet.ckpt").read_bytes() == first


def test_mistakes(tmp_path: Path) -> None:
    refused(phased(tmp_path, "callbacks.search=null"), "searcher.phases", "callbacks.search")
    refused(phased(tmp_path, details="{free:*.nothing}"), "*.nothing")


def test_a_run_in_phases_is_killed_and_goes_on(tmp_path: Path) -> None:
    """In the training of the first phase, then in the search of the second."""
    phased(tmp_path / "whole").succeeded()
    whole, run = tmp_path / "whole" / "run", tmp_path / "run"
    overrides = (*SMALL_SPACE, *TINY, f"searcher.phases=[{HEADS},{DETAILS}}}]", "run_dir=run")
    first = run / "phases" / "heads" / "supernet.ckpt"
    for moment, given in (
        (first.is_file, (*overrides, "callbacks.checkpoint.every_n_steps=1")),
        (lambda: lines_of(run) >= 2, ("resume=run",)),
    ):
        process = start("train", *given, folder=tmp_path)
        assert kill_when(process, moment, signal.SIGKILL) in (-signal.SIGKILL, 0)
    run_here("train", "resume=run", folder=tmp_path).succeeded()
    for place in ("", "phases/heads"):
        assert results(run / place) == results(whole / place)
        assert weights(run / place) == weights(whole / place)
    assert files_below(run) == files_below(whole)
    assert "is finished" in run_here("train", *overrides, folder=tmp_path).succeeded().out


@pytest.mark.slow
def test_two_processes_decide_what_one_decides(tmp_path: Path) -> None:
    """Training with two differs from training with one, so here it leaves the weights alone."""
    details = f"{DETAILS},supernet:continue}}"
    still = ("optimizer.lr=0", "scheduler=constant")
    overrides = (*SMALL_SPACE, *TINY, *still, f"searcher.phases=[{HEADS},{details}]")
    run_here("train", *overrides, "run_dir=one", folder=tmp_path).succeeded()
    processes = both("train", *overrides, "run_dir=two", folder=tmp_path)
    assert [end(process) for process in processes] == [0, 0], texts(tmp_path, 1)
    assert "2 x cpu" in texts(tmp_path, 0)[0]
    assert texts(tmp_path, 1)[0] == ""
    for place in ("", "phases/heads"):
        one, two = (results(tmp_path / name / place) for name in ("one", "two"))
        del one["metrics.csv"], two["metrics.csv"]  # a mean over half of the images
        assert len(one) == 3
        assert one == two
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
