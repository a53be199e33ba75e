"""Averaged weights before the first average: those that are trained.

Lightning's `WeightAveraging` begins with a copy of the untrained weights, and until its first
update it validates, saves and ends with that copy. Its first update takes the weights as they are,
so an average that follows them until then is the same average.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vitsearch.lightning.resuming.lightning_internals import averaged_model


def averages(trainer: pl.Trainer) -> Iterator[tuple[WeightAveraging, AveragedModel]]:
    """The callbacks that average weights, each with the copy of the module that holds them."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            average = averaged_model(callback)
            if average is not None:
                yield callback, average


@torch.no_grad()
def follow_weights(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Copy the weights into every average that has not begun; before an average is used."""
    for _, average in _unused(trainer):
        copies = chain(average.module.parameters(), average.module.buffers())
        for copy, own in zip(copies, chain(module.parameters(), module.buffers()), strict=True):
            copy.copy_(own)


def follow_learned(trainer: pl.Trainer, learned: nn.ModuleDict) -> None:
    """Give averages that were set up before the module the layers that objectives have made since.

    Args:
        trainer: Whose callbacks average.
        learned: See `TrainingModule`.
    """
    for _, average in averages(trainer):
        if hasattr(average.module, "learned"):
            like = next(average.module.parameters())
            average.module.learned = deepcopy(learned).to(like.device)


def note_unused_averages(trainer: pl.Trainer) -> None:
    """Say at the end of training that a callback never averaged."""
    if not trainer.is_global_zero:
        return
    for callback, _ in _unused(trainer):
        print(
            f"vitsearch: note: {type(callback).__name__} has averaged nothing: training ended "
            f"after {trainer.global_step} step(s), before its first update; the trained weights "
            f"are kept",
            file=sys.stderr,
        )


def _unused(trainer: pl.Trainer) -> Iterator[tuple[WeightAveraging, AveragedModel]]:
    return (pair for pair in averages(trainer) if not pair[1].n_averaged)
