"""Patch stem: strided convolution, class token, position embedding; private to each patch size."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.base import PLAIN, Context, ElasticModule, leading


class PatchStemSizes(Protocol):
    """Patch size, width and grid; see `vitsearch.spaces.parts.PatchStemPlan`."""

    @property
    def patch_size(self) -> int:
        """Side of a patch, pixels."""

    @property
    def embed_dim(self) -> int:
        """C."""


class ElasticPatchEmbed(ElasticModule[int]):
    """Images (B, in_chans, H, W) to tokens (B, 1 + patches, C); `sizes` is C."""

    def __init__(self, dim: int, patch_size: int, in_chans: int, num_patches: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.weight = nn.Parameter(torch.empty(dim, in_chans, patch_size, patch_size))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + num_patches, dim))
        for tensor in (self.weight, self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(tensor, std=0.02)

    def active(self, sizes: int) -> dict[str, Tensor]:
        """The first C channels."""
        return {
            "weight": leading(self.weight, sizes),
            "bias": leading(self.bias, sizes),
            "cls_token": leading(self.cls_token, 1, 1, sizes),
            "pos_embed": leading(self.pos_embed, 1, self.pos_embed.shape[1], sizes),
        }

    def forward(self, images: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """Project, put the class token in front, add positions."""
        tensors = self.active(sizes)
        x = F.conv2d(images, tensors["weight"], tensors["bias"], stride=self.patch_size)
        x = x.flatten(2).transpose(1, 2)  # (B, patches, C)
        x = torch.cat([tensors["cls_token"].expand(x.shape[0], -1, -1), x], dim=1)
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
