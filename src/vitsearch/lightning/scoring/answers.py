"""A network's answers to a split: the one loop that scores, evaluations and searches go through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add

import torch
from torch import Tensor

from vitsearch.lightning.distributed import gathered
from vitsearch.lightning.tasks import Batch, Tally, Task

Autocast = Callable[[], AbstractContextManager[object]]


@torch.inference_mode()
def answers(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    *,
    convert: Callable[[Tensor], Tensor],
    autocast: Autocast = nullcontext,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs of a network for each batch, with the targets as they are in it.

    Args:
        network: In eval mode.
        batches: Images (B, C, H, W) and targets (B, ...).
        convert: Brings images to the network's device and number format.
        autocast: Makes the context in which the network runs.
    """
    for images, targets in batches:
        with autocast():
            outputs = network(convert(images))
        yield outputs, targets


@torch.inference_mode()
def count_answers(
    task: Task,
    network: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    *,
    convert: Callable[[Tensor], Tensor],
    autocast: Autocast = nullcontext,
) -> Tally | None:
    """The answers of a network to a split, counted; `None` without images.

    Args:
        task: How to count.
        network: In eval mode.
        batches: Images (B, C, H, W) and targets (B, ...).
        convert: Brings images to the network's device and number format.
        autocast: Makes the context in which the network runs.
    """
    found: Tally | None = None
    for outputs, targets in answers(network, batches, convert=convert, autocast=autocast):
        tally = task.tally(outputs, targets.to(outputs.device))
        found = tally if found is None else found + tally
    return found


def tally_of_all(own: Tally | None) -> Tally | None:
    """The tallies of all processes added up; every process gets the sum."""
    found = [tally for tally in gathered(None if own is None else own.cpu()) if tally is not None]
    return reduce(add, found) if found else None
