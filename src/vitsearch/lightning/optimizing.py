"""timm's optimiser and learning-rate schedule for a LightningModule, from two sections of settings.

All modules that train here share it, so that a recipe means the same for a supernet and for one
network.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from torch import nn

from vitsearch.errors import ConfigError

DEFAULT_OPTIMIZER = {"opt": "adamw", "lr": 1e-3, "weight_decay": 0.05}
SCHEDULERS = ("cosine", "tanh", "step", "multistep", "plateau", "poly")
DEFAULT_SCHEDULER = {"sched": "cosine", "warmup_epochs": 1, "min_lr": 1e-5}


def make_optimizers(
    network: nn.Module,
    trainer: pl.Trainer,
    optimizer: Mapping[str, Any],
    scheduler: Mapping[str, Any],
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns; the schedule is stepped once a batch.

    Args:
        network: What is trained; its `no_weight_decay` is heeded.
        trainer: Says how long.
        optimizer: Arguments of `timm.optim.create_optimizer_v2`; with `layer_decay`, the network's
            `group_matcher` says which layer a parameter belongs to.
        scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs; empty for a
            constant learning rate.
    """
    made = create_optimizer_v2(network, **optimizer)
    if not scheduler:
        for group in made.param_groups:  # timm leaves it to its schedules to slow layers down
            group["lr"] *= group.get("lr_scale", 1.0)
        return made  # type: ignore[no-any-return]
    epochs = trainer.max_epochs or 1
    per_epoch = max(int(trainer.estimated_stepping_batches) // max(epochs, 1), 1)
    schedule, _ = create_scheduler_v2(
        made,
        num_epochs=epochs,
        updates_per_epoch=per_epoch,
        step_on_epochs=False,
        **scheduler,
    )
    return [made], [{"scheduler": schedule, "interval": "step"}]  # type: ignore[return-value]


def step_schedule(module: pl.LightningModule, scheduler: Any, metric: Any) -> None:
    """What `lr_scheduler_step` does: tell timm's schedule the number of optimiser steps."""
    if hasattr(scheduler, "step_update"):
        scheduler.step_update(num_updates=module.trainer.global_step)
    else:
        pl.LightningModule.lr_scheduler_step(module, scheduler, metric)


def check_optimizer(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any]) -> None:
    """Make both for one number, so that timm's complaints come before training, as one line.

    Raises:
        ConfigError: Names the settings and timm's complaint.
    """

    def shown(section: str, settings: Mapping[str, Any]) -> str:
        return ", ".join(f"{section}.{name}={value}" for name, value in settings.items())

    decay = optimizer.get("layer_decay")
    number = isinstance(decay, int | float) and not isinstance(decay, bool)
    if decay is not None and not (number and 0 < decay <= 1):
        raise ConfigError(f"optimizer.layer_decay={decay} must lie in (0, 1], or be null")
    try:
        made = create_optimizer_v2([nn.Parameter(torch.zeros(1))], **optimizer)
    except Exception as error:
        close = get_close_matches(str(optimizer.get("opt")), list_optimizers(), 5)
        raise ConfigError(
            f"{shown('optimizer', optimizer)}: {error}; names like it: {', '.join(close)}"
        ) from error
    if not scheduler:
        return
    try:
        create_scheduler_v2(made, num_epochs=1, updates_per_epoch=1, **scheduler)
    except Exception as error:
        raise ConfigError(
            f"{shown('scheduler', scheduler)}: {error}; names: {', '.join(SCHEDULERS)}"
        ) from error
