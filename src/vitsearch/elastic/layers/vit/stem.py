"""Patches, the tokens in front of them, positions, norms: how timm's vision transformers begin."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region

TOKENS = ("cls_token", "dist_token", "reg_token")


class VitStemSizes(Protocol):
    """C; see `vitsearch.spaces.parts.VitStemPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""


class ElasticVitStem(ElasticModule[VitStemSizes]):
    """Images (B, in_chans, H, W) to tokens (B, prefix + patches, C).

    Attributes:
        num_position_prefix: Tokens in front of the patches that have a position.
    """

    bias: nn.Parameter | None
    pos_embed: nn.Parameter | None

    def __init__(
        self,
        dim: AxisLike,
        *,
        patch_size: int,
        in_chans: int,
        tokens: dict[str, int],
        num_positions: int,
        num_position_prefix: int,
        bias: bool = True,
        embed_norm: nn.Module | None = None,
        pre_norm: nn.Module | None = None,
    ) -> None:
        """Build the stem.

        Args:
            dim: C.
            patch_size: Side of a patch, pixels.
            in_chans: Channels of the image.
            tokens: How many of `TOKENS` there are, by name.
            num_positions: Tokens with a position; 0 for none.
            num_position_prefix: Of these, tokens in front of the patches.
            bias: Whether the projection has one.
            embed_norm: Of projected patches.
            pre_norm: Of all tokens.
        """
        super().__init__()
        self._axis = as_axis(dim)
        self.patch_size = patch_size
        self.num_position_prefix = num_position_prefix
        size = self._axis.size
        self.weight = nn.Parameter(torch.empty(size, in_chans, patch_size, patch_size))
        nn.init.trunc_normal_(self.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None
        for name in TOKENS:
            count = tokens.get(name, 0)
            token = nn.Parameter(torch.empty(1, count, size)) if count else None
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)
            self.register_parameter(name, token)
        if num_positions:
            self.pos_embed = nn.Parameter(torch.empty(1, num_positions, size))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        else:
            self.register_parameter("pos_embed", None)
        self.embed_norm = embed_norm
        self.pre_norm = pre_norm

    def regions(self, sizes: VitStemSizes, alignment: Alignment = "prefix") -> dict[str, Region]:
        """C channels."""
        rows = Region((self._axis.range(0, sizes.embed_dim, alignment),))
        channels = Region((self._axis.range(2, sizes.embed_dim, alignment),))
        own = {"weight": rows, "bias": rows, **dict.fromkeys((*TOKENS, "pos_embed"), channels)}
        return {name: region for name, region in own.items() if getattr(self, name) is not None}

    def children_sizes(self, sizes: VitStemSizes) -> dict[str, int]:
        """Norms see C."""
        norms = {"embed_norm": self.embed_norm, "pre_norm": self.pre_norm}
        return {name: sizes.embed_dim for name, norm in norms.items() if norm is not None}

    def forward(self, images: Tensor, sizes: VitStemSizes, context: Context = PLAIN) -> Tensor:
        """Project, put the tokens in front, add positions."""
        tensors = self.tensors(sizes, context)
        x = F.conv2d(images, tensors["weight"], tensors.get("bias"), stride=self.patch_size)
        x = x.flatten(2).transpose(1, 2)  # (B, patches, C)
        if self.embed_norm is not None:
            x = self.embed_norm(x, sizes.embed_dim, context)
        prefix = [tensors[name].expand(x.shape[0], -1, -1) for name in TOKENS if name in tensors]
        positions = tensors.get("pos_embed")
        if positions is not None and not self.num_position_prefix:
            x = x + positions
        x = torch.cat([*prefix, x], dim=1) if prefix else x
        if positions is not None and self.num_position_prefix:
            x = x + positions
        return x if self.pre_norm is None else self.pre_norm(x, sizes.embed_dim, context)
