"""Linear layer whose features lie on a grid (q/k/v, heads, channels) and can be taken in part."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, Axis, AxisLike, Range, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LinearSizes:
    """Active features, as shapes: `(channels,)`, `(heads, channels)`, `(3, heads, channels)`.

    Attributes:
        in_shape: Active columns.
        out_shape: Active rows.
        in_alignment: Which columns, whatever the call says; `None` for as it says.
        out_alignment: Which rows, whatever the call says; `None` for as it says.
    """

    in_shape: Shape
    out_shape: Shape
    in_alignment: Alignment | None = None
    out_alignment: Alignment | None = None


class ElasticLinear(ElasticModule[LinearSizes]):
    """`y = x W^T + b` with the channels that each width gets on both sides.

    The weight is an ordinary matrix `(out_features, in_features)`. Its rows and columns may stand
    for a grid, so that a sub-network takes the first heads and, of each, the first channels.
    """

    def __init__(
        self,
        in_shape: AxisLike | tuple[AxisLike, ...],
        out_shape: AxisLike | tuple[AxisLike, ...],
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._in_axes, self._out_axes = _axes(in_shape), _axes(out_shape)
        self.in_shape = tuple(axis.size for axis in self._in_axes)
        self.out_shape = tuple(axis.size for axis in self._out_axes)
        self.in_features, self.out_features = prod(self.in_shape), prod(self.out_shape)
        self.weight = nn.Parameter(torch.empty(self.out_features, self.in_features))
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        nn.init.xavier_uniform_(self.weight)

    def regions(self, sizes: LinearSizes, alignment: Alignment = "prefix") -> dict[str, Region]:
        """The rows and columns of weight and bias."""
        rows = _ranges(0, self._out_axes, sizes.out_shape, sizes.out_alignment or alignment)
        first = len(self.out_shape)
        columns = _ranges(first, self._in_axes, sizes.in_shape, sizes.in_alignment or alignment)
        num_rows, num_columns = prod(sizes.out_shape), prod(sizes.in_shape)
        whole = (*self.out_shape, *self.in_shape)
        own = {"weight": Region((*rows, *columns), whole, (num_rows, num_columns))}
        if self.bias is not None:
            own["bias"] = Region(rows, self.out_shape, (num_rows,))
        return own

    def places_of(
        self, name: str, *, rows: int | None = None, columns: int | None = None
    ) -> tuple[tuple[str, Shape, int], ...]:
        """Where one axis of rows or columns stands in weight and bias; for `TiedAxis`."""
        shape = (*self.out_shape, *self.in_shape)
        if rows is None:
            assert columns is not None
            return ((f"{name}.weight", shape, len(self.out_shape) + columns),)
        bias = () if self.bias is None else ((f"{name}.bias", self.out_shape, rows),)
        return ((f"{name}.weight", shape, rows), *bias)

    def forward(self, x: Tensor, sizes: LinearSizes, context: Context = PLAIN) -> Tensor:
        """(B, ..., in) to (B, ..., out)."""
        tensors = self.tensors(sizes, context)
        return F.linear(x, tensors["weight"], tensors.get("bias"))

    def extra_repr(self) -> str:
        """The largest sizes."""
        return f"in_shape={self.in_shape}, out_shape={self.out_shape}, bias={self.bias is not None}"


def _axes(shape: AxisLike | tuple[AxisLike, ...]) -> tuple[Axis, ...]:
    listed = shape if isinstance(shape, tuple) else (shape,)
    return tuple(as_axis(axis) for axis in listed)


def _ranges(
    first: int, axes: tuple[Axis, ...], shape: Shape, alignment: Alignment
) -> tuple[Range, ...]:
    found = []
    for dim, (axis, width) in enumerate(zip(axes, shape, strict=True), start=first):
        found.append(axis.range(dim, width, alignment))
    return tuple(found)
