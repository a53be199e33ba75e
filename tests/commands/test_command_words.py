"""Ends that are right and say so: a full disk, a trial, a run without a progress bar."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.commands.running import SMALL_SPACE, TINY, files_below, run_here

RUN = (*SMALL_SPACE, *TINY, "run_dir=run")


def test_a_full_disk_is_one_line_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fill(path: Path) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    longer = (*RUN, "trainer.max_epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr("vitsearch.lightning.resuming.checkpoints.flush_to_disk", fill)
        outcome = run_here("train", *longer, folder=tmp_path)
    assert outcome.code == 2
    assert len(calls) > 1
    assert "Traceback" not in outcome.err
    line = outcome.err.splitlines()[-1]
    assert line.startswith("vitsearch: run_dir=run cannot be written: No space left on device; ")
    assert line.endswith("go on with: python -m vitsearch.train resume=run")
    left = files_below(tmp_path / "run")
    assert "supernet.ckpt" in left
    assert not [name for name in left if name.endswith(".tmp")]
    outcome = run_here("train", "resume=run", folder=tmp_path).succeeded()
    assert "going on with the training of this folder" in outcome.out
    assert "finished.json" in files_below(tmp_path / "run")


def test_a_run_does_not_go_on_from_half_a_checkpoint(tmp_path: Path) -> None:
    run_here("train", *RUN, "callbacks.search=null", folder=tmp_path).succeeded()
    run = tmp_path / "run"
    (run / "finished.json").unlink()
    whole = (run / "supernet.ckpt").read_bytes()
    (run / "supernet.ckpt").write_bytes(whole[: len(whole) // 2])
    outcome = run_here("train", "resume=run", folder=tmp_path)
    assert outcome.code == 2
    assert "supernet.ckpt cannot be read: it is damaged" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_trial_announces_no_files_that_are_not_there(tmp_path: Path) -> None:
    outcome = run_here("train", *RUN, "+trainer.fast_dev_run=true", folder=tmp_path).succeeded()
    assert files_below(tmp_path / "run") == {"config.yaml"}
    assert "what comes next" not in outcome.out
    assert "trainer.fast_dev_run: everything ran; nothing was searched" in outcome.out


def test_a_run_without_a_progress_bar(tmp_path: Path) -> None:
    quiet = ("trainer.enable_progress_bar=false", "callbacks.search=null")
    outcome = run_here("train", *RUN, *quiet, folder=tmp_path).succeeded()
    assert "epoch 1" not in outcome.out
    assert "supernet.ckpt" in files_below(tmp_path / "run")
