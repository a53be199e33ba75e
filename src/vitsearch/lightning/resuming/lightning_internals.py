"""Everything that vitsearch takes from Lightning without a promise: private names, in one place.

Going on in the middle of an epoch, bit for bit, needs the state of the trainer's loops, which has
no public interface. Each function here uses a few private names, lists them in `relies_on`, and was
read at pytorch-lightning 2.6.6. `tests/lightning/test_lightning_internals.py` has a test for each
name; no other file may use one (`tests/test_private_names.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.strategies import DDPStrategy
from torch.optim.swa_utils import AveragedModel

from vitsearch.errors import VitSearchError
from vitsearch.runs.versions import installed_version

P = ParamSpec("P")
R = TypeVar("R")

READ_AT = "2.6.6"
RELIED_ON: set[str] = set()
"""The private names of all functions of this file."""

EpochSums = dict[str, dict[str, torch.Tensor]]
"""By the name of what is logged: `value`, and for a mean the `count` of samples."""


def relies_on(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """List the private attributes and keys of Lightning that a function uses.

    Where the installed Lightning has one of them no more, the function raises a `VitSearchError`
    that names it.
    """
    RELIED_ON.update(names)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except (AttributeError, KeyError) as error:
                missing = error.name if isinstance(error, AttributeError) else error.args[0]
                if missing not in names:
                    raise
                installed = installed_version("pytorch-lightning")
                raise VitSearchError(
                    f"pytorch-lightning {installed} has no {missing}, which vitsearch needs "
                    f"({function.__name__}); it works with {READ_AT}: "
                    f"pip install pytorch-lightning=={READ_AT}"
                ) from error

        return checked

    return decorate


# Loaders


@relies_on("_combined_loader", "_state_dicts")
def loader_states(trainer: pl.Trainer) -> list[Any]:
    """Where the training loaders stand; to be asked before the next batch is read."""
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else combined._state_dicts()


@relies_on("_combined_loader_states_to_load", "_load_combined_loader_states", "_data_fetcher")
def restore_loaders(trainer: pl.Trainer) -> None:
    """Let the training loaders go on where they stood; to be called in `on_train_start`.

    Lightning does it when it makes the loaders. But `configure_optimizers` has them made earlier,
    before the checkpoint's loops are restored, if it asks how many steps there will be.
    """
    loop = trainer.fit_loop
    if loop.restarting and loop._combined_loader_states_to_load:
        loop._load_combined_loader_states()
        assert loop._data_fetcher is not None
        iter(loop._data_fetcher)  # the iterators of before began at the start of the epoch


@relies_on("_data_source")
def given_loaders(trainer: pl.Trainer, split: Literal["train", "validation"], hooks: bool) -> Any:
    """What `fit` was given to read a split from, before it is set up and cut into parts.

    Args:
        trainer: In `fit`.
        split: Which loaders.
        hooks: Whether to ask the module or data module, if that has them, for new ones.

    Returns:
        A loader, or several in lists and dictionaries; `None` without any.
    """
    loop = trainer.fit_loop if split == "train" else trainer.fit_loop.epoch_loop.val_loop
    source = loop._data_source
    if source.instance is None or not source.is_defined() or (source.is_module() and not hooks):
        return None
    return source.dataloader()


# Checkpoints


@relies_on("_should_accumulate")
def is_accumulating(trainer: pl.Trainer) -> bool:
    """Whether the last batch's gradients wait for the next batch, before the optimiser's step."""
    return trainer.fit_loop._should_accumulate()


@relies_on("_checkpoint_connector")
def dump_checkpoint(trainer: pl.Trainer) -> dict[str, Any]:
    """What `Trainer.save_checkpoint` would write, as data."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


@relies_on(
    "epoch_loop.batch_progress",
    "epoch_loop.state_dict",
    "_batches_that_stepped",
    "combined_loader",
)
def turn_back(checkpoint: dict[str, Any], loaders: list[Any]) -> None:
    """From "the next batch has been read" to "the hooks after the last batch are running".

    Args:
        checkpoint: Of `dump_checkpoint`, called in `on_train_batch_start`; changed in place.
        loaders: What `loader_states` returned after the batch before.
    """
    loops = checkpoint["loops"]["fit_loop"]
    progress = loops["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts["ready"] -= 1
        counts["completed"] -= 1
    progress["is_last_batch"] = False
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    if loaders:
        loops["state_dict"]["combined_loader"][:] = loaders


# Means over an epoch


@relies_on("_results")
def epoch_sums(trainer: pl.Trainer) -> EpochSums:
    """The unfinished sums of what is logged as a mean, sum or extreme over the epoch."""
    sums = {}
    for key, metric in trainer.fit_loop.epoch_loop._results.items():
        if metric.is_tensor and metric.meta.on_epoch and not metric.has_reset:
            sums[key] = {"value": metric.value.detach().cpu()}
            if metric.meta.is_mean_reduction:
                sums[key]["count"] = torch.as_tensor(metric.cumulated_batch_size).cpu()
    return sums


@relies_on("_results")
def complete_epoch_sums(trainer: pl.Trainer, sums: EpochSums) -> None:
    """Add sums from before an interruption to those that have been logged again.

    Lightning makes its sums when a batch first logs them.

    Args:
        trainer: In `on_train_batch_end`.
        sums: What `epoch_sums` returned; those that are added are taken out.
    """
    results = trainer.fit_loop.epoch_loop._results
    for key in [key for key in sums if key in results]:
        metric, saved = results[key], sums.pop(key)
        value = saved["value"].to(metric.value.device)
        if metric.meta.is_max_reduction or metric.meta.is_min_reduction:
            metric.value = metric.meta.reduce_fx(torch.stack([metric.value, value]))
        else:
            metric.value = metric.value + value
        if metric.meta.is_mean_reduction:
            count = saved["count"].to(metric.value.device)
            metric.cumulated_batch_size = metric.cumulated_batch_size + count


# Averaged weights


@relies_on("_average_model")
def averaged_model(callback: WeightAveraging) -> AveragedModel | None:
    """The averaged weights, with a copy of the module as `module`; `None` outside of training."""
    return callback._average_model


@relies_on("current_model_state")
def keep_average(checkpoint: dict[str, Any]) -> None:
    """Let a finished training go on from its average, which is what has been trained.

    `WeightAveraging` writes the average as the module's weights, and the module's own beside it,
    which are the average, too, only if the callback had its turn in `on_train_end` already.

    Args:
        checkpoint: Of `dump_checkpoint`, called in `on_train_end`; changed in place.
    """
    if "current_model_state" in checkpoint:
        checkpoint["current_model_state"] = checkpoint["state_dict"]


# Processes


@relies_on("_ddp_kwargs")
def ddp_settings(strategy: DDPStrategy) -> dict[str, Any]:
    """The arguments of `DistributedDataParallel`, to be changed in place before training."""
    return strategy._ddp_kwargs


@relies_on("_timeout")
def set_timeout(strategy: Any, timeout: timedelta) -> None:
    """Set how long a collective waits, before there is a process group.

    Args:
        strategy: Of a `Trainer` or a `Fabric`; nothing is done for one without a process group.
        timeout: When it gives up.
    """
    if hasattr(strategy, "_timeout"):
        strategy._timeout = timeout
