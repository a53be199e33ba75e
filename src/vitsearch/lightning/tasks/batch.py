"""Batches as people's loaders give them, and the pair of tensors that training wants.

A batch is `(images, targets)`, a longer tuple or list whose rest is left alone (paths, indices), or
a dictionary, as Hugging Face and albumentations have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitsearch.errors import DataError
from vitsearch.spaces import SearchSpace

IMAGES = ("image", "images", "pixel_values")


class Batch(NamedTuple):
    """A batch that is ready.

    Attributes:
        images: (B, C, H, W), floating point.
        targets: What the network should say of each, as the task has it; (B, ...).
    """

    images: Tensor
    targets: Tensor


def read_pair(batch: Any, targets: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Images and targets out of whatever a loader gives.

    Args:
        batch: What the loader gave.
        targets: What the targets may be called in a dictionary.

    Raises:
        DataError: They cannot be found.
    """
    if isinstance(batch, Mapping):
        return _entry(batch, IMAGES), _entry(batch, targets)
    pair = tuple(batch[:2]) if isinstance(batch, tuple | list) else ()
    if len(pair) == 2 and all(isinstance(one, Tensor) for one in pair):
        return pair[0], pair[1]
    raise DataError(_wording(batch, targets))


def read_images(batch: Any) -> Tensor:
    """Images out of whatever a loader gives, with or without targets.

    Raises:
        DataError: They cannot be found.
    """
    if isinstance(batch, Mapping):
        return _entry(batch, IMAGES)
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(first, Tensor):
        return first
    raise DataError(_wording(batch, ()))


def check_images(images: Tensor, space: SearchSpace | None) -> Tensor:
    """Refuse what no network, or not that of a space, can look at.

    Raises:
        DataError: Says what images are, and what they must be.
    """
    if not images.is_floating_point():
        raise DataError(
            f"images are {_dtype(images)}; they must be floating point and normalised, as "
            f"torchvision's ToDtype(torch.float32, scale=True) and Normalize make them"
        )
    if images.ndim != 4:
        raise DataError(
            f"a batch of images has the shape {tuple(images.shape)}; it must be "
            f"(batch, channels, height, width)"
        )
    if space is not None and images.shape[1:] != space.input_shape:
        raise DataError(
            f"images are {_size(images.shape[1:])} (channels, height, width), the space takes "
            f"{_size(space.input_shape)}; change the data, or the "
            f"space's in_chans and image_size"
        )
    return images


def whole_numbers(targets: Tensor, what: str) -> Tensor:
    """Targets as int64.

    Raises:
        DataError: They are no whole numbers.
    """
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise DataError(f"{what} are {_dtype(targets)}; they must be whole numbers")
    return targets.long()


def check_range(targets: Tensor, num_classes: int, what: str) -> None:
    """Refuse numbers of classes that the network has not.

    Values on an accelerator are left to its own assertion: looking at them would make it wait.

    Raises:
        DataError: Names the range.
    """
    if targets.device.type != "cpu" or not targets.numel():
        return
    low, high = (int(end) for end in targets.aminmax())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{what} range from {low} to {high}; legal are 0 to {num_classes - 1} "
            f"(num_classes={num_classes})"
        )


def _entry(batch: Mapping[Any, Any], names: Sequence[str]) -> Tensor:
    found = [name for name in names if isinstance(batch.get(name), Tensor)]
    if len(found) == 1:
        return batch[found[0]]  # type: ignore[no-any-return]
    listed = ", ".join(map(str, batch)) or "nothing"
    problem = f"has {' and '.join(found)}" if found else f"has {listed}"
    raise DataError(f"a batch is a dictionary that {problem}; it needs one tensor of {_any(names)}")


def _wording(batch: Any, targets: Sequence[str]) -> str:
    kind = type(batch).__name__
    if isinstance(batch, tuple | list):
        kind = f"{kind} of {', '.join(type(one).__name__ for one in batch[:4]) or 'nothing'}"
    elif isinstance(batch, Tensor):
        kind = "tensor without targets"
    also = f" and {_any(targets)}" if targets else ""
    return (
        f"a batch is a {kind}; it must be tensors (images, targets), with more behind them or "
        f"without, or a dictionary with {_any(IMAGES)}{also}"
    )


def _any(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
