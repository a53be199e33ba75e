"""What a user's own project might hand to the commands."""

from __future__ import annotations

import os
import signal

import pytorch_lightning as pl
import torch
from torch import Tensor

from vitsearch.lightning import SearchableClassifier


class CountSteps(pl.Callback):
    """Writes how many steps it has seen into the run folder."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.steps = 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object, **__: object) -> None:
        self.steps += 1
        with open(f"{trainer.default_root_dir}/steps.txt", "w") as file:
            file.write(f"{self.steps} {self.unit}")


class Diverging(SearchableClassifier):
    """Its loss becomes NaN in the second epoch of three steps."""

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = super().compute_loss(logits, targets)
        return loss * torch.nan if self.trainer.global_step == 4 else loss


class Interrupt(pl.Callback):
    """Asks for an end, as Ctrl-C does, when so many steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object, **__: object) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
