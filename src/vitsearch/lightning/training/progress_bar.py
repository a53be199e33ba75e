"""How training shows where it stands: a rich bar in a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar

from vitsearch.lightning.tasks import Task
from vitsearch.reports.words.figure import TOP1


def training_progress() -> ProgressBar:
    """The progress bar that fits where the output goes."""
    return TrainingBar() if sys.stdout.isatty() else EpochLines()


class TrainingBar(RichProgressBar):
    """Lightning's rich bar, taken away when training ends: a search draws its own after it."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop drawing."""
        super().on_train_end(trainer, pl_module)
        self.teardown(trainer, pl_module, "fit")


class EpochLines(ProgressBar):
    """One line for each epoch: loss, accuracies of the reference architectures, time left."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._started = 0.0
        self._first_epoch = 0

    def disable(self) -> None:
        """Print nothing (Lightning calls this on all processes but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line."""
        if not self._enabled:
            return
        done = trainer.current_epoch + 1
        seconds = time.monotonic() - self._started
        metrics = trainer.callback_metrics
        parts = [f"loss {metrics['train/loss']:.3f}"] if "train/loss" in metrics else []
        parts += _figures(getattr(pl_module, "task", None), metrics)
        total = _epochs(trainer)
        if total is not None:
            left = seconds / max(done - self._first_epoch, 1) * max(total - done, 0)
            parts.append(f"{left:.0f} s left")
        of_total = "" if total is None else f"/{math.ceil(total)}"
        print(f"epoch {done}{of_total}: {', '.join(parts)}", flush=True)


def _figures(task: object, metrics: Mapping[str, Any]) -> list[str]:
    """What validation found: of a network its figures, of a supernet those of some networks."""
    figures = task.detailed().figures if isinstance(task, Task) else (TOP1,)
    found = []
    for logged, value in sorted(metrics.items()):
        name = logged.removeprefix("val/")
        for figure in figures if name != logged else ():
            if name == figure.name or name.startswith(f"{figure.name}_"):
                found.append(f"{name.removeprefix(f'{figure.name}_')} {figure.text(float(value))}")
    return found


def _epochs(trainer: pl.Trainer) -> float | None:
    """How many epochs training has, parts of one included; `None` if nobody knows."""
    ends: list[float] = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs)
    if trainer.max_steps >= 0 and trainer.num_training_batches < math.inf:
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        ends.append(trainer.max_steps / per_epoch)
    return min(ends, default=None)
