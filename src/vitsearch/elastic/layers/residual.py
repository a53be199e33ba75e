"""The convolutional layers of ResNets: stem, basic and bottleneck blocks, with elastic channels.

Names inside a layer are torchvision's and timm's.

Source: Deep Residual Learning for Image Recognition (He et al., 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from vitsearch.elastic.axis import AxisLike
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.norm import ElasticBatchNorm


class ResNetStemSizes(Protocol):
    """C; see `vitsearch.spaces.parts.ResNetStemPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""


class ResidualSizes(Protocol):
    """Channels before, inside and after; see `vitsearch.spaces.parts.ResidualPlan`."""

    @property
    def in_dim(self) -> int:
        """Channels before."""

    @property
    def mid_dim(self) -> int:
        """Channels inside."""

    @property
    def embed_dim(self) -> int:
        """Channels after."""

    @property
    def shortcut(self) -> Any:
        """Sizes of the convolution beside the branch; `None` where there is none."""


class ElasticResNetStem(ElasticModule[ResNetStemSizes]):
    """ReLU(BN(conv)), then max pooling of stride 2 unless it is the small one."""

    def __init__(self, in_chans: int, dim: AxisLike, kernel_size: int, *, small: bool) -> None:
        super().__init__()
        self._in_chans, self._small = in_chans, small
        self.conv1 = ElasticConv2d(in_chans, dim, kernel_size, stride=1 if small else 2, bias=False)
        self.bn1 = ElasticBatchNorm(dim)

    def children_sizes(self, sizes: ResNetStemSizes) -> dict[str, Any]:
        """C channels out."""
        return {"conv1": ConvSizes(self._in_chans, sizes.embed_dim), "bn1": sizes.embed_dim}

    def forward(self, images: Tensor, sizes: ResNetStemSizes, context: Context = PLAIN) -> Tensor:
        """(B, in_chans, H, W) to (B, C, rows, columns)."""
        of = self.children_sizes(sizes)
        # Channels last: what convolutions run fastest on.
        x = images.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(x, of["conv1"], context), of["bn1"], context))
        return x if self._small else F.max_pool2d(x, 3, stride=2, padding=1)


class ElasticResidual(ElasticModule[ResidualSizes]):
    """ReLU(x + branch(x)); the shortcut is a convolution where the map changes.

    Attributes:
        bottleneck: Whether the branch is 1x1, 3x3, 1x1 convolutions; else 3x3, 3x3.
    """

    def __init__(
        self,
        in_dim: AxisLike,
        mid_dim: AxisLike,
        dim: AxisLike,
        *,
        bottleneck: bool,
        stride: int,
        has_shortcut: bool,
    ) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = ElasticConv2d(in_dim, mid_dim, 1, bias=False)
            self.bn1 = ElasticBatchNorm(mid_dim)
            self.conv2 = ElasticConv2d(mid_dim, mid_dim, 3, stride=stride, bias=False)
            self.bn2 = ElasticBatchNorm(mid_dim)
            self.conv3 = ElasticConv2d(mid_dim, dim, 1, bias=False)
            self.bn3 = ElasticBatchNorm(dim)
        else:
            self.conv1 = ElasticConv2d(in_dim, mid_dim, 3, stride=stride, bias=False)
            self.bn1 = ElasticBatchNorm(mid_dim)
            self.conv2 = ElasticConv2d(mid_dim, dim, 3, bias=False)
            self.bn2 = ElasticBatchNorm(dim)
        self.downsample: nn.ModuleList | None = None
        if has_shortcut:
            conv = ElasticConv2d(in_dim, dim, 1, stride=stride, bias=False)
            self.downsample = nn.ModuleList([conv, ElasticBatchNorm(dim)])
        self.set_drop_path(0.0)

    def set_drop_path(self, rate: float) -> None:
        """Leave out the branch with this probability, for each image, in training."""
        self.drop_path: nn.Module = DropPath(rate) if rate else nn.Identity()

    @torch.no_grad()
    def zero_init_residual(self) -> None:
        """Let the block begin as its shortcut: zeros in the last BatchNorm of the branch.

        Source: Accurate, Large Minibatch SGD (2017), section 5.1.
        """
        self._norms[-1].weight.zero_()

    @property
    def _norms(self) -> list[ElasticBatchNorm]:
        return [self.bn1, self.bn2, *([self.bn3] if self.bottleneck else [])]

    def _channels(self, sizes: ResidualSizes) -> list[int]:
        """What flows between the convolutions of the branch, ends included."""
        inside = [sizes.mid_dim] * (1 + self.bottleneck)
        return [sizes.in_dim, *inside, sizes.embed_dim]

    def children_sizes(self, sizes: ResidualSizes) -> dict[str, Any]:
        """Channels in and out of every convolution."""
        found: dict[str, Any] = {}
        channels = self._channels(sizes)
        for number, (before, after) in enumerate(pairwise(channels), 1):
            found |= {f"conv{number}": ConvSizes(before, after), f"bn{number}": after}
        if sizes.shortcut is not None:
            found["downsample.0"] = ConvSizes(sizes.in_dim, sizes.embed_dim)
            found["downsample.1"] = sizes.embed_dim
        return found

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The channels inside: one axis between each two convolutions."""
        convs: Sequence[ElasticConv2d] = [self.conv1, self.conv2]
        if self.bottleneck:
            convs = [*convs, self.conv3]
        return tuple(
            TiedAxis(
                (
                    (f"conv{number}.weight", tuple(before.weight.shape), 0),
                    *(
                        (f"bn{number}.{name}", (before.weight.shape[0],), 0)
                        for name in ("weight", "bias", "running_mean", "running_var")
                    ),
                    (f"conv{number + 1}.weight", tuple(after.weight.shape), 1),
                ),
                f"conv{number + 1}.weight",
            )
            for number, (before, after) in enumerate(pairwise(convs), 1)
        )

    def forward(self, x: Tensor, sizes: ResidualSizes, context: Context = PLAIN) -> Tensor:
        """(B, C_in, H, W) to (B, C, H / stride, W / stride), rounded up."""
        of = self.children_sizes(sizes)

        def unit(conv: str, norm: str, x: Tensor) -> Tensor:
            made = self.get_submodule(conv)(x, of[conv], context)
            return self.get_submodule(norm)(made, of[norm], context)  # type: ignore[no-any-return]

        branch = F.relu(unit("conv1", "bn1", x))
        branch = unit("conv2", "bn2", branch)
        if self.bottleneck:
            branch = unit("conv3", "bn3", F.relu(branch))
        shortcut = x if sizes.shortcut is None else unit("downsample.0", "downsample.1", x)
        return F.relu(shortcut + self.drop_path(branch))
