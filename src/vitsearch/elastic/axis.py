"""A dimension of a shared weight, the widths taken of it, and which channels a width gets.

A sub-network's share of a weight is cut out here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Alignment = Literal["prefix", "suffix", "cyclic"]
"""Which channels of the largest width a smaller one gets.

`prefix`: the first. `suffix`: the last; trained together with the first, each width is "bilaterally
coupled" (BCNet, 2021, section 3; ViTAS, section 3). `cyclic`: those that follow on the ones of the
next smaller width, around the end, so that each channel is in equally many widths (ViTAS).
"""


class Axis:
    """The widths that architectures take of one dimension.

    Attributes:
        size: The largest, which the weight has.
    """

    __slots__ = ("_starts", "size")

    def __init__(self, widths: Sequence[int]) -> None:
        ordered = sorted(set(widths))
        self.size = ordered[-1]
        self._starts: dict[int, int] = {}
        end = 0
        for width in ordered:
            self._starts[width] = end % self.size
            end += width

    def start(self, width: int, alignment: Alignment) -> int:
        """The first channel of a width."""
        if alignment == "prefix" or width == self.size:
            return 0
        return self.size - width if alignment == "suffix" else self._starts[width]


AxisLike = int | Axis


def as_axis(axis: AxisLike) -> Axis:
    """A single width as an axis."""
    return axis if isinstance(axis, Axis) else Axis((axis,))


def cut(tensor: Tensor, dim: int, axis: Axis, width: int, alignment: Alignment) -> Tensor:
    """The channels of a width along one dimension, as a view; a copy where they wrap around."""
    if width == axis.size:
        return tensor
    start = axis.start(width, alignment)
    if start + width <= axis.size:
        return tensor.narrow(dim, start, width)
    first = axis.size - start
    return torch.cat([tensor.narrow(dim, start, first), tensor.narrow(dim, 0, width - first)], dim)


def paste(tensor: Tensor, axis: Axis, width: int, alignment: Alignment, values: Tensor) -> None:
    """Write the channels of a width back along dimension 0, where `cut` gave a copy of them."""
    places = torch.arange(width, device=tensor.device) + axis.start(width, alignment)
    tensor[places % axis.size] = values
