"""Linear layer whose features are laid out on a grid (q/k/v, heads, channels), cut at a corner."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.base import PLAIN, Context, ElasticModule, leading, trailing

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LinearSizes:
    """Active features, as shapes: `(channels,)`, `(heads, channels)`, `(3, heads, channels)`.

    Attributes:
        in_shape: Active columns.
        out_shape: Active rows.
        last_in: Take the last channels of a one-dimensional `in_shape`, not the first.
        last_out: Take the last channels of a one-dimensional `out_shape`, not the first.
    """

    in_shape: Shape
    out_shape: Shape
    last_in: bool = False
    last_out: bool = False


class ElasticLinear(ElasticModule[LinearSizes]):
    """`y = x W^T + b` with the leading corner of W on both sides.

    The weight is an ordinary matrix `(out_features, in_features)`. Its rows and columns may stand
    for a grid, so that a sub-network takes the first heads and, of each, the first channels.
    """

    def __init__(self, in_shape: int | Shape, out_shape: int | Shape, bias: bool = True) -> None:
        super().__init__()
        self.in_shape = (in_shape,) if isinstance(in_shape, int) else in_shape
        self.out_shape = (out_shape,) if isinstance(out_shape, int) else out_shape
        self.in_features, self.out_features = prod(self.in_shape), prod(self.out_shape)
        self.weight = nn.Parameter(torch.empty(self.out_features, self.in_features))
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        nn.init.xavier_uniform_(self.weight)

    def active(self, sizes: LinearSizes) -> dict[str, Tensor]:
        """The leading corner of weight and bias."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if (sizes.in_shape, sizes.out_shape) != (self.in_shape, self.out_shape):
            corner = weight.view(*self.out_shape, *self.in_shape)
            if sizes.last_in:
                corner = trailing(corner, -1, *sizes.in_shape)
            if sizes.last_out:
                corner = trailing(corner, 0, *sizes.out_shape)
            corner = leading(corner, *sizes.out_shape, *sizes.in_shape)
            weight = corner.reshape(prod(sizes.out_shape), prod(sizes.in_shape))
            if bias is not None:
                bias = bias.view(self.out_shape)
                if sizes.last_out:
                    bias = trailing(bias, 0, *sizes.out_shape)
                bias = leading(bias, *sizes.out_shape).reshape(-1)
        return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}

    def forward(self, x: Tensor, sizes: LinearSizes, context: Context = PLAIN) -> Tensor:
        """(B, ..., in) to (B, ..., out)."""
        tensors = self.active(sizes)
        return F.linear(x, tensors["weight"], tensors.get("bias"))

    def extra_repr(self) -> str:
        """The largest sizes."""
        return f"in_shape={self.in_shape}, out_shape={self.out_shape}, bias={self.bias is not None}"
