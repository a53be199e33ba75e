"""What stands between searching blocks: stem, sums and joins of maps, 1x1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.hr.mixconv import ACTIVATIONS, LayerKind, norm_of


class ElasticConvsStem(ElasticModule[Any]):
    """3x3 convolutions, each with BatchNorm and activation; `sizes` is a `ConvsStemPlan`."""

    def __init__(self, in_chans: int, dim: int, strides: Sequence[int], kind: LayerKind) -> None:
        super().__init__()
        self._act = ACTIVATIONS[kind.activation]
        self.convs = nn.ModuleList(
            ElasticConv2d(dim if number else in_chans, dim, 3, stride=stride, bias=False)
            for number, stride in enumerate(strides)
        )
        self.norms = nn.ModuleList(norm_of(dim, kind) for _ in strides)

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """The one width."""
        dim = sizes.embed_dim
        found: dict[str, Any] = {}
        for number in range(len(self.convs)):
            before = dim if number else sizes.in_chans
            found |= {f"convs.{number}": ConvSizes(before, dim), f"norms.{number}": dim}
        return found

    def forward(self, images: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, in_chans, H, W) to (B, C, rows, columns)."""
        of = self.children_sizes(sizes)
        # Channels last: what convolutions run fastest on.
        x = images.contiguous(memory_format=torch.channels_last)
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x, of[f"convs.{number}"], context)
            x = self._act(norm(x, of[f"norms.{number}"], context))
        return x


class MapSum(ElasticModule[Any]):
    """Maps of one width added up at the size of the first; `sizes` is a `MapSumPlan`."""

    def forward(self, *maps_and_sizes: Any) -> Tensor:
        """Maps, sizes and perhaps the context, to one map."""
        maps, sizes = _maps(maps_and_sizes)
        total = None
        for x, doubled in zip(maps, sizes.doubled, strict=True):
            own = F.interpolate(x, scale_factor=2) if doubled else x
            total = own if total is None else total + _resized(own, total)
        assert total is not None
        return ACTIVATIONS[sizes.activation](total) if sizes.activation else total


class MapConcat(ElasticModule[Any]):
    """Maps side by side at the size of the first; `sizes` is a `MapConcatPlan`."""

    def forward(self, *maps_and_sizes: Any) -> Tensor:
        """Maps, sizes and perhaps the context, to one map."""
        maps, _ = _maps(maps_and_sizes)
        return torch.cat([_resized(x, maps[0]) for x in maps], dim=1)


class ElasticConvUnit(ElasticModule[Any]):
    """A 1x1 convolution with BatchNorm and activation; `sizes` is a `ConvUnitPlan`."""

    def __init__(self, in_dim: int, dim: int, kind: LayerKind) -> None:
        super().__init__()
        self._act = ACTIVATIONS[kind.activation]
        self.conv = ElasticConv2d(in_dim, dim, 1, bias=False)
        self.norm = norm_of(dim, kind)

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """Both widths."""
        return {"conv": ConvSizes(sizes.in_dim, sizes.embed_dim), "norm": sizes.embed_dim}

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, C_in, H, W) to (B, C, H, W)."""
        of = self.children_sizes(sizes)
        return self._act(self.norm(self.conv(x, of["conv"], context), of["norm"], context))


def _maps(given: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], Any]:
    """The maps and the sizes of a call that may end with a context."""
    *maps, sizes = given[:-1] if isinstance(given[-1], Context) else given
    return tuple(maps), sizes


def _resized(x: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear")
