"""Settings of smoothing and mixing, and a loss that must stay finite."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from torch import Tensor

from vitsearch.errors import ConfigError, NonFiniteLossError


def check_mixing(*, label_smoothing: float, mixup: float, cutmix: float) -> None:
    """Refuse settings of smoothing and mixing.

    Raises:
        ConfigError: A number is out of range.
    """
    for name, value, below in (
        ("label_smoothing", label_smoothing, 1),
        ("mixup", mixup, math.inf),
        ("cutmix", cutmix, math.inf),
    ):
        if not isinstance(value, int | float) or not 0 <= value < below:
            raise ConfigError(f"{name}={value} must lie in [0, {below})")


def check_finite(loss: Tensor, module: pl.LightningModule) -> None:
    """Stop a training that has diverged.

    Raises:
        NonFiniteLossError: Names the step.
    """
    if not torch.isfinite(loss):
        trainer = module.trainer
        raise NonFiniteLossError(
            f"the loss became {loss.item()} at step {trainer.global_step} (epoch "
            f"{trainer.current_epoch}); lower the learning rate or clip gradients"
        )
