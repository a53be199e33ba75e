"""Callbacks that keep the run's checkpoint: a training that ends at any moment goes on from it.

`SupernetCheckpoint` keeps `supernet.ckpt`, `NetworkCheckpoint` the `network.ckpt` of a retraining.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl

from vitsearch.errors import ConfigError
from vitsearch.lightning.resuming import trainer_state
from vitsearch.lightning.resuming.checkpoint_schedule import Pace
from vitsearch.lightning.resuming.lightning_internals import (
    is_accumulating,
    loader_states,
    restore_loaders,
)
from vitsearch.runs import signals
from vitsearch.runs.files import flush_to_disk
from vitsearch.runs.layout import NETWORK_FILE, SUPERNET_FILE


class TrainingCheckpoint(pl.Callback):
    """Writes the run's checkpoint after every epoch, and every minute in between.

    The file is always whole: it is written under another name, then renamed. A
    `Trainer.fit(..., ckpt_path=<file>, weights_only=True)` with this callback goes on in the middle
    of the epoch, and ends with the weights of a training that was never interrupted: bit for bit on
    a CPU.

    In a command, Ctrl-C and SIGTERM end training after the step, with a checkpoint.

    Attributes:
        file_name: Of the checkpoint.
    """

    file_name: ClassVar[Path]

    def __init__(
        self,
        dirpath: str | Path | None = None,
        every_n_epochs: int = 1,
        *,
        every_n_seconds: float | None = 60.0,
        every_n_steps: int | None = None,
    ) -> None:
        """Set where and how often; the end of training is always written.

        Args:
            dirpath: Folder; the trainer's `default_root_dir` by default.
            every_n_epochs: Epochs between writes.
            every_n_seconds: Seconds of training between writes; more where writing would take more
                than a fiftieth of the time. `None` for none between epochs.
            every_n_steps: Steps between writes; `None` leaves it to the seconds.

        Raises:
            ConfigError: A number is out of range.
        """
        for name, value in (
            ("every_n_epochs", every_n_epochs),
            ("every_n_seconds", every_n_seconds),
            ("every_n_steps", every_n_steps),
        ):
            if value is not None and value <= 0:
                raise ConfigError(f"callbacks.checkpoint.{name}={value} must be above 0")
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.every_n_epochs = every_n_epochs
        self.every_n_seconds = every_n_seconds
        self.every_n_steps = every_n_steps
        self._pace = Pace(seconds=every_n_seconds, steps=every_n_steps)
        self._due: list[Any] | None = None  # the loaders' states, once a write is due
        self._signum = 0
        self._remainder: trainer_state.Remainder | None = None
        self._deferring = False

    def path(self, trainer: pl.Trainer) -> Path:
        """Where the checkpoint lies."""
        return (self.dirpath or Path(trainer.default_root_dir)) / self.file_name

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take over what Lightning does not restore.

        Raises:
            CheckpointError: The checkpoint is of another number of processes.
        """
        self._remainder = trainer_state.Remainder(trainer, checkpoint)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; from here on, signals wait for the end of a step."""
        self._pace = Pace(seconds=self.every_n_seconds, steps=self.every_n_steps)
        self._due = None
        restore_loaders(trainer)
        signals.defer()
        self._deferring = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is time: the batch before is over and done with, this one has not begun.

        Raises:
            Interrupted: An end was wished; the checkpoint is written.
        """
        if self._remainder is not None:
            self._remainder.before_batch(trainer.strategy.root_device)
        if self._due is None:
            return
        loaders, self._due = self._due, None
        self._write(trainer, loaders=loaders, finished=False)
        if self._signum:
            raise signals.Interrupted(self._signum)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Decide, together with the other processes, whether to write before the next batch."""
        if self._remainder is not None:
            self._remainder.after_batch(trainer)
        if is_accumulating(trainer):
            return  # gradients are no part of a checkpoint
        decision = self._pace.after_step(trainer.strategy.root_device)
        self._signum = self._signum or decision.signum
        if decision.write or self._signum:
            self._due = loader_states(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write before the next epoch's first batch, when this epoch's metrics are logged."""
        if self._remainder is not None:
            self._remainder.end_of_epoch()
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._due = loader_states(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final weights (averaged ones, where a callback averages).

        Raises:
            Interrupted: An end was wished.
        """
        self._write(trainer, loaders=[], finished=True)
        self._stop_deferring()
        signum = self._pace.agree(trainer.strategy.root_device).signum
        if signum:
            raise signals.Interrupted(signum)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let signals through again."""
        self._stop_deferring()

    def _stop_deferring(self) -> None:
        if self._deferring:
            signals.undefer()
            self._deferring = False

    def _write(self, trainer: pl.Trainer, *, loaders: list[Any], finished: bool) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        started = time.monotonic()
        checkpoint = trainer_state.take(trainer, loaders=loaders, finished=finished)
        target = self.path(trainer)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            trainer.strategy.save_checkpoint(checkpoint, temporary)  # the first process writes
            if trainer.is_global_zero:
                flush_to_disk(temporary)
                os.replace(temporary, target)
        finally:
            if trainer.is_global_zero:
                temporary.unlink(missing_ok=True)  # of a disk that is full
        trainer.strategy.barrier(self.file_name.name)
        self._pace.wrote(time.monotonic() - started)


class SupernetCheckpoint(TrainingCheckpoint):
    """Keeps `supernet.ckpt`, which is always a supernet that `load_supernet` reads."""

    file_name = SUPERNET_FILE


class NetworkCheckpoint(TrainingCheckpoint):
    """Keeps `network.ckpt`, the network of a `Classifier` and how far its training came."""

    file_name = NETWORK_FILE
