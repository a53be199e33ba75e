"""A training as a checkpoint: all that the next step depends on, taken between two batches.

Lightning saves weights, optimiser, schedule, callbacks and the progress of its loops. Here are the
rest and one correction. The rest: the global random generators and half-finished epoch means of
every process. The correction: a checkpoint is taken when a batch is about to begin, because only
then have all callbacks, the validation and the loggers finished with the one before; Lightning's
progress is turned back to where it stands right after a batch, the state that it can go on from.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from vitsearch.errors import CheckpointError
from vitsearch.lightning.distributed import gathered
from vitsearch.lightning.resuming.lightning_internals import (
    EpochSums,
    complete_epoch_sums,
    dump_checkpoint,
    epoch_sums,
    keep_average,
    turn_back,
)
from vitsearch.lightning.training.averaging import follow_weights
from vitsearch.runs.formats import with_format, without_format

ENTRY = "vitsearch_training"


def take(trainer: pl.Trainer, *, loaders: list[Any], finished: bool) -> dict[str, Any]:
    """The checkpoint; every process takes part, that of the first one is complete.

    Args:
        trainer: In `on_train_batch_start`, or in `on_train_end` if training has finished.
        loaders: What `lightning_internals.loader_states` returned after the batch before.
        finished: Whether training has ended.
    """
    own = {
        "generators": generator_states(trainer.strategy.root_device),
        "sums": epoch_sums(trainer),
    }
    processes = gathered(own)
    for logger in trainer.loggers:
        logger.save()
    follow_weights(trainer, trainer.lightning_module)
    checkpoint = dump_checkpoint(trainer)
    checkpoint[ENTRY] = with_format(
        {
            "finished": finished,
            "limits": _limits(trainer),
            "processes": processes,
            "loggers": [_state_of(logger) for logger in trainer.loggers],
        }
    )
    if finished:
        keep_average(checkpoint)
    else:
        turn_back(checkpoint, loaders)
    return checkpoint


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
        self._sums: EpochSums = mine.get("sums", {})
        for logger, state in zip(trainer.loggers, entry["loggers"], strict=False):
            if state is not None and hasattr(logger, "load_state_dict"):
                logger.load_state_dict(state)

    def before_batch(self, device: torch.device) -> None:
        """Restore the random generators; nothing must be drawn between here and the step."""
        if self._generators is not None:
            restore_generators(self._generators, device)
            self._generators = None

    def after_batch(self, trainer: pl.Trainer) -> None:
        """Add what was logged before the interruption to the means of the epoch."""
        complete_epoch_sums(trainer, self._sums)

    def end_of_epoch(self) -> None:
        """Forget sums that nobody has logged again."""
        self._sums = {}


def _limits(trainer: pl.Trainer) -> list[int | None]:
    return [trainer.max_epochs, trainer.max_steps]


def _state_of(logger: Any) -> Any:
    return logger.state_dict() if hasattr(logger, "state_dict") else None


# The global random generators: mixup draws from NumPy's, drop path from PyTorch's of the device.
# Their states are tensors and plain values, as checkpoints are read with `weights_only=True`.


def generator_states(device: torch.device) -> dict[str, Any]:
    """The states of Python, NumPy and PyTorch, and of the device if it is a GPU."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    assert kind == "MT19937"
    version, words, next_gauss = random.getstate()
    states: dict[str, Any] = {
        "python": [version, torch.tensor(words), next_gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Put back what `generator_states` returned; a GPU's only where there is one now and then."""
    version, words, next_gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), next_gauss))
    keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
