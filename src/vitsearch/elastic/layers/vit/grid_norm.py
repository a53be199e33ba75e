"""A norm over channels that lie on a grid, such as those of all heads together."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region

Shape = tuple[int, ...]


class ElasticGridNorm(ElasticModule[Shape]):
    """LayerNorm or RMSNorm over the last dimension; `sizes` is the shape of the grid.

    Attributes:
        kind: `layer` or `rms`.
        eps: Added to the variance.
    """

    bias: nn.Parameter | None

    def __init__(self, shape: tuple[AxisLike, ...], kind: str, eps: float) -> None:
        super().__init__()
        self.kind = kind
        self.eps = eps
        self._axes = tuple(as_axis(axis) for axis in shape)
        self.shape = tuple(axis.size for axis in self._axes)
        self.weight = nn.Parameter(torch.ones(prod(self.shape)))
        if kind == "layer":
            self.bias = nn.Parameter(torch.zeros(prod(self.shape)))
        else:
            self.register_parameter("bias", None)

    @property
    def _names(self) -> tuple[str, ...]:
        return ("weight",) if self.bias is None else ("weight", "bias")

    def regions(self, sizes: Shape, alignment: Alignment = "prefix") -> dict[str, Region]:
        """The entries of the smaller grid."""
        ranges = tuple(
            axis.range(dim, width, alignment)
            for dim, (axis, width) in enumerate(zip(self._axes, sizes, strict=True))
        )
        return dict.fromkeys(self._names, Region(ranges, self.shape, (prod(sizes),)))

    def places_of(self, name: str, dim: int) -> tuple[tuple[str, Shape, int], ...]:
        """Where one axis of the grid stands; for `TiedAxis`."""
        return tuple((f"{name}.{own}", self.shape, dim) for own in self._names)

    def forward(self, x: Tensor, sizes: Shape, context: Context = PLAIN) -> Tensor:
        """(..., C) to the same shape."""
        tensors, width = self.tensors(sizes, context), (prod(sizes),)
        if self.kind == "rms":
            return F.rms_norm(x, width, tensors["weight"], self.eps)
        return F.layer_norm(x, width, tensors["weight"], tensors["bias"], self.eps)
