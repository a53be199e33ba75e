"""timm's optimiser and learning-rate schedule for a LightningModule, from two sections of settings.

All modules that train here share it, so that a recipe means the same for a supernet and for one
network. A schedule is stepped once an update and spans the training, however its end is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.optim import Optimizer

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_number

DEFAULT_OPTIMIZER = {"opt": "adamw", "lr": 1e-3, "weight_decay": 0.05}
SCHEDULERS = ("cosine", "tanh", "step", "multistep", "poly")
AUTO = "auto"
AUTO_RATE, AUTO_WIDTH = 0.003, 64  # tried on networks 48 to 192 channels wide: docs/benchmarks.md
DEFAULT_SCHEDULER = {"sched": "cosine", "warmup_epochs": 1, "min_lr": 1e-5}
_ENDLESS = ("step", "multistep", "constant")  # they do not ask how long training is
_SOME_EPOCHS = 1_000_000  # enough for every legal setting, where the length is not known yet


def with_rate(optimizer: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Settings with a number for `lr: auto`: 0.003, beyond 64 channels in inverse proportion.

    Source: Tensor Programs V (2022), table 8: Adam's learning rate falls with the width.

    Args:
        optimizer: Arguments of `timm.optim.create_optimizer_v2`.
        width: Channels of the network's last tokens, the most that it has.
    """
    if optimizer.get("lr") != AUTO:
        return dict(optimizer)
    return {**optimizer, "lr": round(AUTO_RATE * min(1.0, AUTO_WIDTH / width), 6)}


def make_optimizers(
    network: nn.Module,
    trainer: pl.Trainer,
    optimizer: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    *,
    further: Sequence[nn.Parameter] = (),
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns; the schedule is stepped once an update.

    Args:
        network: What is trained; its `no_weight_decay` is heeded.
        trainer: Says how long.
        optimizer: Arguments of `timm.optim.create_optimizer_v2`; with `layer_decay`, the network's
            `group_matcher` says which layer a parameter belongs to. A rate is a number here.
        scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs; empty for a
            constant learning rate.
        further: What is trained beside the network, at the same rate and without weight decay.

    Raises:
        ConfigError: The schedule does not fit into the training.
    """
    made = create_optimizer_v2(network, **optimizer)
    if further:
        made.add_param_group({"params": list(further), "weight_decay": 0.0})
    if _is_constant(scheduler):
        for group in made.param_groups:  # timm leaves it to its schedules to slow layers down
            group["lr"] *= group.get("lr_scale", 1.0)
        return made  # type: ignore[no-any-return]
    num_updates, per_epoch = training_length(trainer, scheduler)
    schedule = make_schedule(made, scheduler, num_updates=num_updates, updates_per_epoch=per_epoch)
    return [made], [{"scheduler": schedule, "interval": "step"}]  # type: ignore[return-value]


def training_length(trainer: pl.Trainer, scheduler: Mapping[str, Any]) -> tuple[int | None, int]:
    """How many updates a training has, `None` for no end, and how many an epoch has.

    Raises:
        ConfigError: Nobody knows, and the schedule has to.
    """
    if any(isinstance(c, GradientAccumulationScheduler) for c in trainer.callbacks):  # type: ignore[attr-defined]
        raise ConfigError(
            f"{_shown('scheduler', scheduler)}: a schedule needs epochs of equal length, but "
            f"GradientAccumulationScheduler changes it; use trainer.accumulate_grad_batches"
        )
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    nothing = trainer.limit_train_batches == 0  # then Lightning sets no loader up
    batches = 0 if nothing else trainer.num_training_batches
    if batches == math.inf:
        raise ConfigError(
            f"{_shown('scheduler', scheduler)}: a schedule counts in epochs, but the training "
            f"loader does not say how long they are; set trainer.limit_train_batches to a number"
        )
    per_epoch = max(math.ceil(batches / trainer.accumulate_grad_batches), 1)
    ends = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs * per_epoch)
    return min(ends, default=None), per_epoch


def make_schedule(
    optimizer: Optimizer,
    scheduler: Mapping[str, Any],
    *,
    num_updates: int | None,
    updates_per_epoch: int,
) -> Any:
    """A schedule of timm's that comes to its end with the training.

    Cycles, a warm-up before the schedule (`warmup_prefix`) and a cool-down after it are parts of
    the training: the schedule proper gets the updates that they leave.

    Args:
        optimizer: Whose learning rate.
        scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs.
        num_updates: Of the whole training; `None` if it has no end.
        updates_per_epoch: What an epoch of the settings is.

    Raises:
        ConfigError: The schedule does not fit.
    """
    shown = _shown("scheduler", scheduler)
    if num_updates is None and scheduler.get("sched", "cosine") not in _ENDLESS:
        raise ConfigError(
            f"{shown}: this schedule spans the training, which has no end: set trainer.max_epochs "
            f"or trainer.max_steps; schedules without an end: {', '.join(_ENDLESS)}"
        )
    length = _whole(_own_updates(scheduler, num_updates, updates_per_epoch), updates_per_epoch)
    if length <= 0:
        raise ConfigError(
            f"{shown}: warm-up and cool-down leave nothing of the training's {num_updates} updates "
            f"({updates_per_epoch} an epoch)"
        )
    try:
        schedule, _ = create_scheduler_v2(
            optimizer,
            num_epochs=length,
            updates_per_epoch=updates_per_epoch,
            step_on_epochs=False,
            **scheduler,
        )
    except Exception as error:
        raise ConfigError(f"{shown}: {error}") from error
    return schedule


def _own_updates(
    scheduler: Mapping[str, Any], num_updates: int | None, updates_per_epoch: int
) -> float:
    """The updates of one cycle of the schedule proper."""
    if num_updates is None:
        return _SOME_EPOCHS * updates_per_epoch
    around = float(scheduler.get("cooldown_epochs", 0))
    if scheduler.get("warmup_prefix", False):
        around += scheduler.get("warmup_epochs", 0)
    cycles, factor = max(scheduler.get("cycle_limit", 1), 1), scheduler.get("cycle_mul", 1.0)
    together = cycles if factor == 1 else (factor**cycles - 1) / (factor - 1)
    left = num_updates - around * updates_per_epoch
    return left if together == 1 else left / together


def _whole(updates: float, per_epoch: int) -> float:
    """In epochs; a whole number where it is one, so that timm multiplies without rounding."""
    epochs = updates / per_epoch
    return int(epochs) if epochs.is_integer() else epochs


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
    decay = optimizer.get("layer_decay")
    if decay is not None:
        check_number("optimizer.layer_decay", decay, "(0, 1]", otherwise="be null")
    rate = optimizer.get("lr")
    if isinstance(rate, str) and rate != AUTO:
        raise ConfigError(f"optimizer.lr={rate} must be a number, or auto")
    settings = with_rate(optimizer, AUTO_WIDTH)
    try:
        made = create_optimizer_v2([nn.Parameter(torch.zeros(1))], **settings)
    except Exception as error:
        close = get_close_matches(str(optimizer.get("opt")), list_optimizers(), 5)
        raise ConfigError(
            f"{_shown('optimizer', optimizer)}: {error}; names like it: {', '.join(close)}"
        ) from error
    if _is_constant(scheduler):
        return
    if scheduler.get("sched") == "plateau":
        raise ConfigError(
            f"{_shown('scheduler', scheduler)}: plateau waits for a metric, and what it has seen "
            f"is in no checkpoint; names: {', '.join(SCHEDULERS)}"
        )
    try:
        create_scheduler_v2(made, num_epochs=_SOME_EPOCHS, **scheduler)
    except Exception as error:
        raise ConfigError(
            f"{_shown('scheduler', scheduler)}: {error}; names: {', '.join(SCHEDULERS)}"
        ) from error


def check_length(trainer: pl.Trainer, scheduler: Mapping[str, Any]) -> None:
    """Refuse, before the data are there, a schedule that does not fit into the training.

    Raises:
        ConfigError: It does not.
    """
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if _is_constant(scheduler) or steps >= 0:
        return  # how long an epoch is, the data say
    made = create_optimizer_v2([nn.Parameter(torch.zeros(1))], **{"opt": "sgd", "lr": 1.0})
    known = None if epochs is None or epochs < 0 else epochs
    make_schedule(made, scheduler, num_updates=known, updates_per_epoch=1)


def _is_constant(scheduler: Mapping[str, Any]) -> bool:
    return not scheduler or scheduler.get("sched") == "none"


def _shown(section: str, settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{section}.{name}={value}" for name, value in settings.items())
