"""`timing.json`: what a run has cost so far, where, and with which versions, start by start.

It lies apart from the history and the metrics, which are the same for the same run, as time is not.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from vitsearch.lightning.distributed import rank_and_world
from vitsearch.lightning.threads import threads_on
from vitsearch.runs.files import read_json_or_empty, write_json
from vitsearch.runs.formats import with_format, without_format
from vitsearch.runs.layout import TIMING_FILE
from vitsearch.runs.versions import installed_version, installed_versions

_SECONDS = 10.0


class Stopwatch:
    """The clock of one start of a training or a search; the first process writes its entry.

    An entry has `seconds`, `device`, `processes`, `versions`, on a CPU `threads`, and what `lap` is
    told.
    """

    def __init__(
        self, folder: Path, part: str, device: torch.device, *, goes_on: bool, **facts: Any
    ) -> None:
        """Start the clock.

        Args:
            folder: The run folder.
            part: `training`, `search`, or another part of the run.
            device: Where the work is done.
            goes_on: Whether earlier starts belong to the same work; else they are forgotten.
            **facts: More of the entry, ready for JSON.
        """
        self._file = folder / TIMING_FILE
        self._part = part
        rank, world = rank_and_world()
        self._writes = rank == 0
        self._started = self._lapped = time.monotonic()
        self._earlier = [] if not goes_on else self._read().get(part, [])
        self._entry = {
            "seconds": 0.0,
            "device": device_name(device),
            **({"threads": threads_on(device)} if device.type == "cpu" else {}),
            "processes": world,
            "versions": versions(),
            **facts,
        }

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def lap(self, **facts: Any) -> None:
        """Write how long it took until now, and what was done in that time."""
        if not self._writes:
            return
        self._lapped = time.monotonic()
        self._entry |= {"seconds": round(self._lapped - self._started, 3), **facts}
        write_json(
            self._file,
            with_format({**self._read(), self._part: [*self._earlier, self._entry]}),
        )

    def _read(self) -> dict[str, Any]:
        return without_format(read_json_or_empty(self._file), self._file)

    def lap_at_times(self, **facts: Any) -> None:
        """The same where this is called often: writes now and then."""
        if time.monotonic() - self._lapped > _SECONDS:
            self.lap(**facts)


class TrainingTime(pl.Callback):
    """Notes in `timing.json` how long training took, epoch by epoch."""

    def __init__(self, dirpath: str | Path | None = None) -> None:
        """Set where.

        Args:
            dirpath: The run folder; the trainer's `default_root_dir` by default.
        """
        self.dirpath = None if dirpath is None else Path(dirpath)
        self._watch: Stopwatch | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._watch = Stopwatch(
            self.dirpath or Path(trainer.default_root_dir),
            "training",
            trainer.strategy.root_device,
            goes_on=trainer.ckpt_path is not None,
            first_step=trainer.global_step,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time."""
        self._lap(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time, for the last time."""
        self._lap(trainer)
        self._watch = None

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Note the time of a training that ends early."""
        self._lap(trainer)
        self._watch = None

    def _lap(self, trainer: pl.Trainer) -> None:
        if self._watch is not None:
            self._watch.lap(last_step=trainer.global_step)


def device_name(device: torch.device) -> str:
    """What a device is called by people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on, where they are installed."""
    found = {
        "python": platform.python_version(),
        **installed_versions(),
        "timm": installed_version("timm"),
    }
    return {name: version for name, version in found.items() if version is not None}
