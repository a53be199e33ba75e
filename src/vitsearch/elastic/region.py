"""The part of a shared tensor that a sub-network takes, and where the gradient of that part goes.

Left to autograd, each narrowing of each sub-network would return a gradient as large as the whole
tensor, zeros for the most part, and all of them would be added up. Here the parts of all
sub-networks of a step are cut by one operation, which adds their gradients into one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitsearch.elastic.axis import Range


class Region(NamedTuple):
    """Ranges of channels along some dimensions of a tensor.

    Attributes:
        ranges: What is taken along them.
        grid: The shape to see the tensor in; `None` for as it is.
        shape: The shape of what is taken; `None` for as it comes.
    """

    ranges: tuple[Range, ...]
    grid: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        for one in self.ranges:  # noqa: SIM110  (asked thousands of times a step)
            if one.width != one.size:
                return False
        return True

    def cut(self, tensor: Tensor) -> Tensor:
        """What is taken, as a view where possible; the tensor itself if it is all of it."""
        if self.is_whole:
            return tensor
        part = tensor if self.grid is None else tensor.view(self.grid)
        for one in self.ranges:
            part = one.cut(part)
        return part if self.shape is None else part.reshape(self.shape)

    def add(self, total: Tensor, values: Tensor, *, blank: bool = False) -> None:
        """Add values of what is taken into a tensor of the whole, in place.

        With `blank` the tensor is all zeros so far, and values are copied.
        """
        total = total if self.grid is None else total.view(self.grid)
        taken = list(total.shape)
        for one in self.ranges:
            taken[one.dim] = one.width
        values = values.reshape(taken)
        for pieces in product(*(one.pieces() for one in self.ranges)):
            target, source = total, values
            for one, (start, offset, length) in zip(self.ranges, pieces, strict=True):
                target = target.narrow(one.dim, start, length)
                source = source.narrow(one.dim, offset, length)
            if blank:
                target.copy_(source)
            else:
                target.add_(source)


class _Cut(torch.autograd.Function):
    """Cut several regions out of a tensor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, *regions: Region) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.regions, ctx.whole = regions, tensor.shape
        return tuple(region.cut(tensor) for region in regions)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        total = None
        for region, grad in zip(ctx.regions, grads, strict=True):
            if grad is None:
                continue
            if total is None:
                total = grad.new_zeros(ctx.whole)
                region.add(total, grad, blank=True)
            else:
                region.add(total, grad)
        return (total, *(None for _ in ctx.regions))


def cut_together(tensor: Tensor, regions: Sequence[Region]) -> list[Tensor]:
    """What several sub-networks take of a tensor."""
    parts = [region for region in dict.fromkeys(regions) if not region.is_whole]
    learned = tensor.requires_grad and torch.is_grad_enabled()
    if parts and learned and not torch.compiler.is_compiling():
        found = dict(zip(parts, _Cut.apply(tensor, *parts), strict=True))
    else:
        found = {region: region.cut(tensor) for region in parts}
    return [found.get(region, tensor) for region in regions]
