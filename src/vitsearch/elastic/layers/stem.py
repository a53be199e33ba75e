"""Patch stem: strided convolution, class token, position embedding; private to each patch size."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region


class PatchStemSizes(Protocol):
    """Patch size, width and grid; see `vitsearch.spaces.parts.PatchStemPlan`."""

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""

    @property
    def embed_dim(self) -> int:
        """C."""


class ElasticPatchEmbed(ElasticModule[int]):
    """Images (B, in_chans, H, W) to tokens (B, prefix + patches, C); `sizes` is C.

    The prefix is a class token and, where the space has one, a distillation token.
    """

    dist_token: nn.Parameter | None

    def __init__(
        self,
        dim: AxisLike,
        patch_size: int,
        in_chans: int,
        num_patches: int,
        num_prefix_tokens: int = 1,
    ) -> None:
        super().__init__()
        assert num_prefix_tokens in (1, 2), num_prefix_tokens
        self.patch_size = patch_size
        self._axis = as_axis(dim)
        size = self._axis.size
        self.weight = nn.Parameter(torch.empty(size, in_chans, patch_size, patch_size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.cls_token = nn.Parameter(torch.empty(1, 1, size))
        self.pos_embed = nn.Parameter(torch.empty(1, num_prefix_tokens + num_patches, size))
        for tensor in (self.weight, self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(tensor, std=0.02)
        if num_prefix_tokens == 2:
            self.dist_token = nn.Parameter(torch.empty(1, 1, size))
            nn.init.trunc_normal_(self.dist_token, std=0.02)
        else:
            self.register_parameter("dist_token", None)

    def regions(self, sizes: int, alignment: Alignment = "prefix") -> dict[str, Region]:
        """C channels."""
        rows = Region((self._axis.range(0, sizes, alignment),))
        channels = Region((self._axis.range(2, sizes, alignment),))
        own = {"weight": rows, "bias": rows, "cls_token": channels, "pos_embed": channels}
        return own if self.dist_token is None else own | {"dist_token": channels}

    def forward(self, images: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """Project, put the prefix tokens in front, add positions."""
        tensors = self.tensors(sizes, context)
        x = F.conv2d(images, tensors["weight"], tensors["bias"], stride=self.patch_size)
        x = x.flatten(2).transpose(1, 2)  # (B, patches, C)
        prefix = [tensors[name] for name in ("cls_token", "dist_token") if name in tensors]
        x = torch.cat([*(token.expand(x.shape[0], -1, -1) for token in prefix), x], dim=1)
        return x + tensors["pos_embed"]


class ElasticPatchStem(ElasticModule[PatchStemSizes]):
    """One `ElasticPatchEmbed` for every patch size ("private class tokens", ViTAS section 3)."""

    def __init__(self, embeds: dict[int, ElasticPatchEmbed]) -> None:
        super().__init__()
        self.embeds = nn.ModuleDict({str(size): embed for size, embed in embeds.items()})

    def children_sizes(self, sizes: PatchStemSizes) -> dict[str, int]:
        """The embedding of this patch size."""
        return {f"embeds.{sizes.patch_size}": sizes.embed_dim}

    def forward(self, images: Tensor, sizes: PatchStemSizes, context: Context = PLAIN) -> Tensor:
        """(B, in_chans, H, W) to (B, 1 + patches, C)."""
        return self.embeds[str(sizes.patch_size)](images, sizes.embed_dim, context)  # type: ignore[no-any-return]
