"""The score of one network on a split that all processes share."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch

from vitsearch.errors import DataError
from vitsearch.lightning.scoring.answers import Autocast, count_answers, tally_of_all
from vitsearch.lightning.tasks import Score, Task
from vitsearch.supernet import VisionTransformer


def score_network(
    task: Task,
    network: VisionTransformer,
    batches: Iterable[Any],
    *,
    device: torch.device,
    autocast: Autocast = nullcontext,
) -> Score:
    """Answer a split; every process its own part of it, and all get the score of the whole.

    Args:
        task: How to count.
        network: Put into eval mode, on the device.
        batches: Of this process, as a loader gives them.
        device: Where to compute.
        autocast: Makes the context in which the network runs.

    Raises:
        DataError: There is no image, or a batch is none of the task's.
    """
    network.to(device).eval()
    dtype = next(network.parameters()).dtype  # half or double, where a trainer has it so
    counted = count_answers(
        task,
        network,
        (task.prepare(batch, network.space) for batch in batches),
        convert=lambda images: images.to(device, dtype),
        autocast=autocast,
    )
    tally = tally_of_all(counted)
    if tally is None:
        raise DataError("there is no image to score the network on")
    return task.score(tally)
