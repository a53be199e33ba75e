"""A dimension of a shared weight, the widths taken of it, and which channels a width gets.

A sub-network's share of a weight is cut out here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Alignment = Literal["prefix", "suffix", "cyclic"]
"""Which channels of the largest width a smaller one gets.

`prefix`: the first. `suffix`: the last; trained together with the first, each width is "bilaterally
coupled" (BCNet, 2021, section 3; ViTAS, section 3). `cyclic`: those that follow on the ones of the
next smaller width, around the end, so that each channel is in equally many widths (ViTAS).
"""


class Range(NamedTuple):
    """Channels that are taken along one dimension; past the end they go on from the start.

    Attributes:
        dim: Which dimension.
        size: How many channels there are.
        start: The first one taken.
        width: How many are taken.
    """

    dim: int
    size: int
    start: int
    width: int

    def cut(self, tensor: Tensor) -> Tensor:
        """What is taken of a tensor, as a view; a copy where it wraps around."""
        if self.width == self.size:
            return tensor
        if self.start + self.width <= self.size:
            return tensor.narrow(self.dim, self.start, self.width)
        first = self.size - self.start
        pieces = (
            tensor.narrow(self.dim, self.start, first),
            tensor.narrow(self.dim, 0, self.width - first),
        )
        return torch.cat(pieces, self.dim)

    def pieces(self) -> tuple[tuple[int, int, int], ...]:
        """Runs side by side: start in the whole, start in what is taken, length."""
        first = min(self.width, self.size - self.start)
        if first == self.width:
            return ((self.start, 0, first),)
        return (self.start, 0, first), (0, first, self.width - first)


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

    @property
    def is_elastic(self) -> bool:
        """Whether there is more than one width."""
        return len(self._starts) > 1

    def start(self, width: int, alignment: Alignment) -> int:
        """The first channel of a width."""
        if alignment == "prefix" or width == self.size:
            return 0
        return self.size - width if alignment == "suffix" else self._starts[width]

    def range(self, dim: int, width: int, alignment: Alignment) -> Range:
        """The channels of a width along a dimension."""
        start = 0 if alignment == "prefix" else self.start(width, alignment)
        return Range(dim, self.size, start, width)


AxisLike = int | Axis


def as_axis(axis: AxisLike) -> Axis:
    """A single width as an axis."""
    return axis if isinstance(axis, Axis) else Axis((axis,))


def cut(tensor: Tensor, dim: int, axis: Axis, width: int, alignment: Alignment) -> Tensor:
    """The channels of a width along one dimension, as a view; a copy where they wrap around."""
    return axis.range(dim, width, alignment).cut(tensor)


def paste(tensor: Tensor, axis: Axis, width: int, alignment: Alignment, values: Tensor) -> None:
    """Write the channels of a width back along dimension 0, where `cut` gave a copy of them.

    Autograd does not hear of it: BatchNorm of another share has saved its running statistics for
    the backward pass, which does not read them in training.
    """
    places = torch.arange(width, device=tensor.device) + axis.start(width, alignment)
    tensor.data[places % axis.size] = values
