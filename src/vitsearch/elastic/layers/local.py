"""GLiT's local module: a gated pointwise layer, a depthwise convolution over tokens, BatchNorm.

Source: GLiT (ICCV 2021), section 3.1, after the convolution module of Conformer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, Range, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis, UnitNorm
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticBatchNorm
from vitsearch.elastic.region import Region

Grid = tuple[int, int]
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class DepthwiseSizes:
    """Channels and odd kernel size; the kernel is cropped at its centre."""

    channels: int
    kernel_size: int


@dataclass(frozen=True, slots=True)
class LocalSizes:
    """Channels in and out, channels inside, kernel size, and the patch grid."""

    dim: int
    inner_dim: int
    kernel_size: int
    grid: Grid


class ElasticDepthwise(ElasticModule[DepthwiseSizes]):
    """Depthwise convolution in 1-D (all tokens in a row) or 2-D (the patch grid), same padding."""

    def __init__(self, channels: AxisLike, kernel_size: int, *, num_dims: int) -> None:
        super().__init__()
        self._axis = as_axis(channels)
        size = self._axis.size
        self.weight = nn.Parameter(torch.empty(size, 1, *([kernel_size] * num_dims)))
        self.bias = nn.Parameter(torch.zeros(size))
        nn.init.trunc_normal_(self.weight, std=0.02)

    @property
    def _kernel_dims(self) -> range:
        return range(2, self.weight.dim())

    @property
    def num_dims(self) -> int:
        """1 or 2."""
        return self.weight.dim() - 2

    def regions(self, sizes: DepthwiseSizes, alignment: Alignment = "prefix") -> dict[str, Region]:
        """The channels of a width, the middle of the kernel."""
        rows = self._axis.range(0, sizes.channels, alignment)
        largest, width = self.weight.shape[-1], sizes.kernel_size
        middle = (Range(dim, largest, (largest - width) // 2, width) for dim in self._kernel_dims)
        return {"weight": Region((rows, *middle)), "bias": Region((rows,))}

    def forward(self, x: Tensor, sizes: DepthwiseSizes, context: Context = PLAIN) -> Tensor:
        """(B, C, N) or (B, C, H, W) to the same shape."""
        tensors = self.tensors(sizes, context)
        return depthwise(x, tensors["weight"], tensors["bias"])


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each channel of (B, C, N) or (B, C, H, W) by itself, to the same shape.

    Args:
        x: The tokens in a row, or the patches in their places.
        weight: (C, 1, kernel_size) or (C, 1, kernel_size, kernel_size); odd.
        bias: (C,).
    """
    margin, channels = weight.shape[-1] // 2, len(weight)
    if x.dim() == 4:
        return F.conv2d(x, weight, bias, padding=margin, groups=channels)
    # A 2-D convolution over one row: on a CPU twice as fast as conv1d, and the same numbers.
    # Over one column in half precision: oneDNN never returns from a row of at most 16 channels
    # in bfloat16.
    dim = 2 if x.dtype in (torch.float32, torch.float64) else 3
    padding = (0, margin) if dim == 2 else (margin, 0)
    line = F.conv2d(x.unsqueeze(dim), weight.unsqueeze(dim), bias, padding=padding, groups=channels)
    return line.squeeze(dim)


class ElasticLocal(ElasticModule[LocalSizes]):
    """Pointwise, GLU, depthwise, BatchNorm, Swish, pointwise.

    As `sequence` the tokens are one row, class token included, as published. As `grid` the
    depthwise convolution sees the patches in their places, and the class token passes by it.
    """

    def __init__(
        self, dim: AxisLike, inner_dim: AxisLike, kernel_size: int, *, on_grid: bool
    ) -> None:
        super().__init__()
        self.on_grid = on_grid
        self.expand = ElasticLinear(dim, (2, inner_dim))
        self.conv = ElasticDepthwise(inner_dim, kernel_size, num_dims=2 if on_grid else 1)
        self.norm = ElasticBatchNorm(inner_dim)
        self.project = ElasticLinear(inner_dim, dim)

    def children_sizes(self, sizes: LocalSizes) -> dict[str, object]:
        """The last channels of the tokens, which are the ones that come in."""
        return {
            "expand": LinearSizes((sizes.dim,), (2, sizes.inner_dim), in_alignment="suffix"),
            "conv": DepthwiseSizes(sizes.inner_dim, sizes.kernel_size),
            "norm": sizes.inner_dim,
            "project": LinearSizes((sizes.inner_dim,), (sizes.dim,), out_alignment="suffix"),
        }

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The inner channels."""
        inner = self.norm.weight.numel()
        of_conv = (("conv.weight", tuple(self.conv.weight.shape), 0), ("conv.bias", (inner,), 0))
        names = ("weight", "bias", "running_mean", "running_var")
        of_norm = tuple((f"norm.{name}", (inner,), 0) for name in names)
        made = self.expand.places_of("expand", rows=1)
        used = self.project.places_of("project", columns=0)
        behind = UnitNorm("norm.weight", "norm.bias", F.silu, "project.bias")
        return (TiedAxis((*made, *of_conv, *of_norm, *used), "project.weight", behind),)

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The second pointwise one."""
        return (self.project,)

    def forward(self, x: Tensor, sizes: LocalSizes, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        children = self.children_sizes(sizes)
        x = F.glu(self.expand(x, children["expand"], context), dim=-1)
        x = self.mix(
            x.transpose(1, 2),
            sizes.grid,
            lambda x: self.conv(x, children["conv"], context),
            lambda x: self.norm(x, children["norm"], context),
        )
        return self.project(x.transpose(1, 2), children["project"], context)  # type: ignore[no-any-return]

    def mix(self, x: Tensor, grid: Grid, conv: Step, norm: Step) -> Tensor:
        """What is between the pointwise layers: (B, C, N) to the same shape.

        Args:
            x: (B, C, N).
            grid: Rows and columns of patches.
            conv: The depthwise convolution, of (B, C, N) or (B, C, rows, columns).
            norm: The norm, of (B, C, N).
        """
        if self.on_grid:
            prefix = x.shape[2] - grid[0] * grid[1]
            patches = conv(x[:, :, prefix:].reshape(*x.shape[:2], *grid))
            x = torch.cat([x[:, :, :prefix], patches.flatten(2)], dim=2)
        else:
            x = conv(x)
        return F.silu(norm(x))
