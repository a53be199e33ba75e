"""Runs the commands as a user does: overrides in; exit code, output and files out.

`run_here` runs one in this process, because starting Python with torch and Lightning takes seconds;
`run_module` starts a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from vitsearch import SearchSpace, build_space
from vitsearch.costs import human, reachable_range

REPOSITORY = Path(__file__).resolve().parents[2]

# The least that still trains a few steps, searches two generations and writes every file.
FEW_CANDIDATES = (
    "searcher.population=4",
    "searcher.generations=2",
    "searcher.mutations=2",
    "searcher.crossovers=2",
)
FEW_STEPS = ("trainer.max_epochs=1", "+trainer.limit_train_batches=3", "trainer.accelerator=cpu")
FEW_IMAGES = (
    "data.batch_size=16",
    "data.statistics_images=40",
    "++data.search_per_class=5",
    "callbacks.search.use_test_split=false",
    "callbacks.search.report=false",
)
TINY = ("trainer.devices=1", *FEW_STEPS, *FEW_IMAGES, *FEW_CANDIDATES)
TINY_SEARCH = ("trainer.devices=1", "trainer.accelerator=cpu", "report=false", *FEW_CANDIDATES)
SMALL_SPACE = ("+space=glit", "space.num_blocks=2", "space.embed_dims=[24]")


def small_space() -> SearchSpace:
    """The space of `SMALL_SPACE`."""
    return build_space("glit", num_blocks=2, embed_dims=[24])


def small_range() -> str:
    """Its smallest and largest MACs, as people see them."""
    low, high = reachable_range(small_space(), "macs", 10)
    return f"{human(low)} to {human(high)}"


@dataclass(frozen=True)
class Outcome:
    """What a command left in the folder it was started from."""

    code: int
    out: str
    err: str
    folder: Path

    def succeeded(self) -> Outcome:
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    @property
    def run(self) -> Path:
        """The run folder; there must be exactly one."""
        runs = sorted(self.folder.glob("outputs/*/*"))
        assert len(runs) == 1, f"{runs}\n{self.out}\n{self.err}"
        return runs[0]


def run_here(name: str, *overrides: str, folder: Path) -> Outcome:
    """`python -m vitsearch.<name> overrides` in this process, from a folder that may not exist."""
    folder.mkdir(exist_ok=True)
    main = importlib.import_module(f"vitsearch.{name}").main
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        for variable in set(os.environ) - set(_environment()):
            patch.delenv(variable)
        patch.setattr(sys, "argv", [f"vitsearch.{name}", *overrides])
        patch.chdir(folder)
        before = set(os.environ)
        try:
            with contextlib.redirect_stdout(out), _stderr(err):
                main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        finally:
            for variable in set(os.environ) - before:  # Lightning's seed, for one
                del os.environ[variable]
    return Outcome(code, out.getvalue(), err.getvalue(), folder)


def run_module(
    module: str, *overrides: str, folder: Path, python: Path | None = None, **variables: str
) -> Outcome:
    """`python -m module overrides` in a folder that may not exist."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(python or sys.executable), "-m", module, *overrides],
        cwd=folder,
        env=_environment() | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr, folder)


def run_program(arguments: Sequence[str | Path], folder: Path, **variables: str) -> str:
    """Run a program that must succeed; its output."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=folder,
        env=_environment() | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files_below(folder: Path) -> set[str]:
    """Every file, hidden ones included, relative to the folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def read_history(run: Path) -> list[dict[str, Any]]:
    lines = (run / "search" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _environment() -> dict[str, str]:
    """This process's variables, without traces of pytest and of other runs; one thread each."""
    traces = ("PL_", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_", "HYDRA_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(traces)}
    return kept | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextlib.contextmanager
def _stderr(stream: io.StringIO) -> Iterator[None]:
    """Send errors, logs and warnings where they go outside of pytest."""
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        print(f"{category.__name__}: {message}", file=stream)

    with contextlib.redirect_stderr(stream), warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        for hidden in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", hidden)
        for logger in loggers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
