"""Calibrates a pretrained network for the order of its units, before it is trained or cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from vitsearch.lightning.tasks import Task
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.repairing import Calibration
from vitsearch.supernet.repairing.ordering import needs_gradients


def calibrate_for(
    importance: str,
    net: SuperTransformer,
    batches: Iterable[Any],
    task: Task | None,
    *,
    summed: bool = True,
) -> Calibration:
    """What a network shows on images, with gradients where an importance wants them.

    Args:
        importance: One of `IMPORTANCES`.
        net: On its device, with classifiers that fit the task.
        batches: Training images as a loader gives them.
        task: Whose loss gradients are of; without it, and so without labels, of the distance
            between the answers to an image and to its mirror image.
        summed: As `SuperTransformer.calibrate` has it.

    Raises:
        DataError: A batch is not what the task takes.
    """
    like = next(net.parameters())
    if task is None or not needs_gradients(importance):
        images = (read_images(batch).to(like) for batch in batches)
        return net.calibrate(images, gradients=needs_gradients(importance), summed=summed)

    def pairs(task: Task) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            images, targets = task.prepare(batch, net.space)
            yield images.to(like), targets.to(like.device)

    return net.calibrate(pairs(task), gradients=True, loss=task.loss, summed=summed)
