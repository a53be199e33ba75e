"""2-D convolutions with elastic channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region


@dataclass(frozen=True, slots=True)
class ConvSizes:
    """Channels in and out."""

    in_chans: int
    out_chans: int


class ElasticConv2d(ElasticModule[ConvSizes]):
    """A square convolution with padding kernel_size // 2.

    With `groups`, `in_chans` and the sizes count the channels that come into one group.
    """

    def __init__(
        self,
        in_chans: AxisLike,
        out_chans: AxisLike,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._in_axis, self._out_axis = as_axis(in_chans), as_axis(out_chans)
        self.stride, self.groups = stride, groups
        self.weight = nn.Parameter(
            torch.empty(self._out_axis.size, self._in_axis.size, kernel_size, kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(self._out_axis.size)) if bias else None
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def regions(self, sizes: ConvSizes, alignment: Alignment = "prefix") -> dict[str, Region]:
        """The channels in and out."""
        rows = self._out_axis.range(0, sizes.out_chans, alignment)
        columns = self._in_axis.range(1, sizes.in_chans, alignment)
        own = {"weight": Region((rows, columns))}
        return own if self.bias is None else own | {"bias": Region((rows,))}

    def forward(self, x: Tensor, sizes: ConvSizes, context: Context = PLAIN) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H / stride, W / stride), rounded up."""
        tensors = self.tensors(sizes, context)
        padding = self.weight.shape[-1] // 2
        return F.conv2d(
            x,
            tensors["weight"],
            tensors.get("bias"),
            stride=self.stride,
            padding=padding,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        """The largest sizes."""
        out_chans, in_chans, kernel_size, _ = self.weight.shape
        return f"{in_chans}, {out_chans}, kernel_size={kernel_size}, stride={self.stride}"


class ElasticDepthwiseConv2d(ElasticModule[int]):
    """A square convolution of each channel by itself, without bias; `sizes` is C."""

    def __init__(self, channels: AxisLike, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__()
        self._axis = as_axis(channels)
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(self._axis.size, 1, kernel_size, kernel_size))
        nn.init.normal_(self.weight, std=2**0.5 / kernel_size)  # of fan_out: k * k

    def regions(self, sizes: int, alignment: Alignment = "prefix") -> dict[str, Region]:
        """C filters."""
        return {"weight": Region((self._axis.range(0, sizes, alignment),))}

    def forward(self, x: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """(B, C, H, W) to (B, C, H / stride, W / stride), rounded up."""
        weight = self.tensors(sizes, context)["weight"]
        padding = self.weight.shape[-1] // 2
        return F.conv2d(x, weight, stride=self.stride, padding=padding, groups=sizes)

    def extra_repr(self) -> str:
        """The largest sizes."""
        channels, _, kernel_size, _ = self.weight.shape
        return f"{channels}, kernel_size={kernel_size}, stride={self.stride}"
