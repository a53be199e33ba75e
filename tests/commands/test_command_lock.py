"""Two runs do not work in one folder at the same time."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.killing import kill_when, start
from tests.commands.running import TINY, TINY_SEARCH, Outcome, files_below, run_here
from tests.commands.test_command_launch import SRUN, pretend
from tests.commands.test_command_resume import RUN, steps_of
from vitsearch.errors import ConfigError
from vitsearch.runs import lock
from vitsearch.runs.layout import LOCK_FILE
from vitsearch.runs.lock import sole_run


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert outcome.err.startswith("vitsearch: ")
    assert len(outcome.err.splitlines()) == 1
    for word in words:
        assert word in outcome.err


def test_a_second_start_while_the_first_runs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    endless = (*RUN, "trainer.max_epochs=500", "run_dir=run")
    first = start("train", *endless, folder=tmp_path)
    refusals = []

    def second_starts() -> bool:
        if steps_of(run) < 2:
            return False
        for given in (endless, ("resume=run",)):
            refusals.append(run_here("train", *given, folder=tmp_path))
        return True

    assert kill_when(first, second_starts, signal.SIGKILL) == -signal.SIGKILL
    words = f"a run is going on there (vitsearch.train, process {first.pid} on"
    for outcome in refusals:
        assert_refused(outcome, f"run_dir={run}", words, socket.gethostname())
    assert len(refusals) == 2
    with sole_run(run, "train"):  # a killed run leaves no lock, only the file
        pass
    assert LOCK_FILE not in files_below(run)


def test_searches_and_audits_lock_too(trained: Outcome, tmp_path: Path) -> None:
    checkpoint = f"checkpoint={trained.run}"
    for name, settings in (("search", TINY_SEARCH), ("audit", ("n=2",))):
        folder = tmp_path / name
        folder.mkdir()
        with sole_run(folder, name):
            outcome = run_here(name, checkpoint, *settings, f"run_dir={folder}", folder=tmp_path)
            assert_refused(outcome, str(folder), f"vitsearch.{name}, process {os.getpid()}")
        assert files_below(folder) == set()


def test_a_run_that_ends_or_is_refused_leaves_no_lock(trained: Outcome, tmp_path: Path) -> None:
    assert LOCK_FILE not in files_below(trained.run)
    assert_refused(run_here("train", "+space=glit", *TINY, "seed=-1", folder=tmp_path), "seed=-1")
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import os, sys, time, types
from pathlib import Path
sys.modules["vitsearch"] = package = types.ModuleType("vitsearch")  # without torch, in a second
package.__path__ = [sys.argv[2]]
from vitsearch.runs.lock import sole_run
with sole_run(Path(sys.argv[1]), "train"):
    if os.fork() == 0:  # as a loader's worker, which ends some seconds after its parent
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_children_do_not_outlive_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(Path(lock.__file__).parents[1])]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == holder.pid
        with pytest.raises(ConfigError, match=str(holder.pid)), sole_run(tmp_path, "train"):
            pass
        holder.kill()
        holder.communicate()
        with sole_run(tmp_path, "train"):
            assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unable(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_lock", unable)
    with sole_run(tmp_path, "train"), sole_run(tmp_path, "train"):
        assert files_below(tmp_path) == set()
    assert capsys.readouterr().err.count("has no locks (No locks available)") == 2


def test_only_the_first_process_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, SRUN)
    with sole_run(tmp_path, "train"):  # before the first one has come
        assert files_below(tmp_path) == set()
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    with sole_run(tmp_path, "train"):
        monkeypatch.setenv("SLURM_PROCID", "1")
        with sole_run(tmp_path, "train"):
            pass
        monkeypatch.setenv("SLURM_JOB_ID", "4712")  # another job, whose first process is refused
        monkeypatch.setattr(lock, "_FIRST_SECONDS", 0.3)
        began = time.monotonic()
        with pytest.raises(ConfigError, match="is going on there"), sole_run(tmp_path, "train"):
            pass
        assert time.monotonic() - began >= 0.3
    monkeypatch.delenv("SLURM_NTASKS")
    monkeypatch.setenv("LOCAL_RANK", "1")  # started by Lightning, when the first one has the folder
    with sole_run(tmp_path, "train"):
        pass
