"""A training as a checkpoint: all that the next step depends on, taken between two batches.

Lightning saves weights, optimiser, schedule, callbacks and the progress of its loops. Here are the
rest and one correction. The rest: the global random generators and half-finished epoch means of
every process. The correction: a checkpoint is taken when a batch is about to begin, because only
then have all callbacks, the validation and the loggers finished with the one before; Lightning's
progress is turned back to where it stands right after a batch, the state that it can go on from.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from vitsearch.errors import CheckpointError
from vitsearch.lightning.distributed import gathered
from vitsearch.lightning.resuming.generators import generator_states, restore_generators
from vitsearch.lightning.training.averaging import follow_weights
from vitsearch.runs.formats import with_format, without_format

ENTRY = "vitsearch_training"
_AVERAGED = "current_model_state"  # Lightning's WeightAveraging: the weights that are not averaged


def loader_states(trainer: pl.Trainer) -> list[Any]:
    """Where the training loaders stand; to be asked before the next batch is read."""
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else combined._state_dicts()


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


def take(trainer: pl.Trainer, *, loaders: list[Any], finished: bool) -> dict[str, Any]:
    """The checkpoint; every process takes part, that of the first one is complete.

    Args:
        trainer: In `on_train_batch_start`, or in `on_train_end` if training has finished.
        loaders: What `loader_states` returned after the batch before.
        finished: Whether training has ended.
    """
    own = {
        "generators": generator_states(trainer.strategy.root_device),
        "sums": _epoch_sums(trainer),
    }
    processes = gathered(own)
    for logger in trainer.loggers:
        logger.save()
    follow_weights(trainer, trainer.lightning_module)
    checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    checkpoint[ENTRY] = with_format(
        {
            "finished": finished,
            "limits": _limits(trainer),
            "processes": processes,
            "loggers": [_state_of(logger) for logger in trainer.loggers],
        }
    )
    if finished:
        if _AVERAGED in checkpoint:  # what was trained is the average, whoever copies it first
            checkpoint[_AVERAGED] = checkpoint["state_dict"]
    else:
        _turn_back(checkpoint["loops"]["fit_loop"], loaders)
    return checkpoint


def _turn_back(loops: dict[str, Any], loaders: list[Any]) -> None:
    """From "the next batch has been read" to "the hooks after the last batch are running"."""
    progress = loops["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts["ready"] -= 1
        counts["completed"] -= 1
    progress["is_last_batch"] = False
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    if loaders:
        loops["state_dict"]["combined_loader"] = loaders


class Remainder:
    """What is left to restore of a checkpoint after Lightning has restored its part."""

    def __init__(self, trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
        """Check that this run can go on from the checkpoint, and set its loggers back.

        Raises:
            CheckpointError: It was written in the middle of training by another number of
                processes.
            FormatError: A newer version has written it.
        """
        entry = without_format(
            checkpoint.get(ENTRY, {"finished": True, "processes": [], "loggers": []}),
            f"checkpoint {trainer.ckpt_path}",
        )
        processes = entry["processes"]
        if not entry["finished"] and len(processes) != trainer.world_size:
            raise CheckpointError(
                f"the training was stopped with {len(processes)} process(es) and goes on with as "
                f"many, not with {trainer.world_size}: set trainer.devices (and trainer.num_nodes)"
            )
        if entry["finished"] and entry.get("limits") == _limits(trainer):
            trainer.should_stop = True  # it may have ended early, before any limit
        mine = processes[trainer.global_rank] if trainer.global_rank < len(processes) else {}
        self._generators: dict[str, Any] | None = mine.get("generators")
        self._sums: dict[str, dict[str, torch.Tensor]] = mine.get("sums", {})
        for logger, state in zip(trainer.loggers, entry["loggers"], strict=False):
            if state is not None and hasattr(logger, "load_state_dict"):
                logger.load_state_dict(state)

    def before_batch(self, device: torch.device) -> None:
        """Restore the random generators; nothing must be drawn between here and the step."""
        if self._generators is not None:
            restore_generators(self._generators, device)
            self._generators = None

    def after_batch(self, trainer: pl.Trainer) -> None:
        """Add what was logged before the interruption to the means of the epoch.

        Lightning makes its sums when the first batch logs; it has, so they can be completed.
        """
        results = trainer.fit_loop.epoch_loop._results
        for key in [key for key in self._sums if key in results]:
            metric, saved = results[key], self._sums.pop(key)
            value = saved["value"].to(metric.value.device)
            if metric.meta.is_max_reduction or metric.meta.is_min_reduction:
                metric.value = metric.meta.reduce_fx(torch.stack([metric.value, value]))
            else:
                metric.value = metric.value + value
            if metric.meta.is_mean_reduction:
                count = saved["count"].to(metric.value.device)
                metric.cumulated_batch_size = metric.cumulated_batch_size + count

    def end_of_epoch(self) -> None:
        """Forget sums that nobody has logged again."""
        self._sums = {}


def _epoch_sums(trainer: pl.Trainer) -> dict[str, dict[str, torch.Tensor]]:
    """The unfinished sums of what is logged as a mean, sum or extreme over the epoch."""
    sums = {}
    for key, metric in trainer.fit_loop.epoch_loop._results.items():
        if metric.is_tensor and metric.meta.on_epoch and not metric.has_reset:
            sums[key] = {"value": metric.value.detach().cpu()}
            if metric.meta.is_mean_reduction:
                sums[key]["count"] = torch.as_tensor(metric.cumulated_batch_size).cpu()
    return sums


def _limits(trainer: pl.Trainer) -> list[int | None]:
    return [trainer.max_epochs, trainer.max_steps]


def _state_of(logger: Any) -> Any:
    return logger.state_dict() if hasattr(logger, "state_dict") else None
