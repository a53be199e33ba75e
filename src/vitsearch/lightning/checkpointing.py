"""The callback that keeps `supernet.ckpt`: the newest finished epoch, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytorch_lightning as pl

from vitsearch.supernet.checkpoint import SUPERNET_FILE


class SupernetCheckpoint(pl.Callback):
    """Writes the run's checkpoint after every epoch, under a temporary name first.

    A run that fails or is killed keeps the checkpoint of its last finished epoch.
    """

    def __init__(self, dirpath: str | Path | None = None, every_n_epochs: int = 1) -> None:
        """Set where and how often.

        Args:
            dirpath: Folder; the trainer's `default_root_dir` by default.
            every_n_epochs: Epochs between writes; the last epoch is always written.
        """
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.every_n_epochs = every_n_epochs

    def path(self, trainer: pl.Trainer) -> Path:
        """Where the checkpoint lies."""
        return (self.dirpath or Path(trainer.default_root_dir)) / SUPERNET_FILE

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write if it is time."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final weights (averaged ones, where a callback averages)."""
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        target = self.path(trainer)
        temporary = target.with_name(f".{target.name}.tmp")
        trainer.save_checkpoint(temporary)  # every process takes part, the first one writes
        if trainer.is_global_zero:
            os.replace(temporary, target)
