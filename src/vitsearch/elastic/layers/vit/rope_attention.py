"""Attention whose queries and keys are rotated by their positions on the grid of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from timm.layers import apply_rot_embed_cat, get_mixed_freqs
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, TiedAxis
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention, VitAttentionSizes
from vitsearch.elastic.layers.vit.grid_tables import (
    Grid,
    RopeLike,
    coordinate_tables,
    rotation_tables,
)
from vitsearch.elastic.region import Region


class RopeAttentionSizes(VitAttentionSizes, Protocol):
    """With the grid; see `vitsearch.spaces.parts.RopeAttentionPlan`."""

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches, which are not rotated."""


class ElasticRopeAttention(ElasticVitAttention[RopeAttentionSizes]):
    """Scores depend on the differences of positions; queries and keys keep their whole width.

    Attributes:
        freqs: (2, heads, qk_dim / 2) learned frequencies for both coordinates; `None` where they
            are fixed.
        tables: The rotation of each patch; where frequencies are learned, its coordinates.
    """

    freqs: nn.Parameter | None

    def __init__(
        self,
        dim: AxisLike,
        num_heads: AxisLike,
        qk_dim: AxisLike,
        head_dim: AxisLike,
        *,
        rope: RopeLike,
        grids: Sequence[Grid],
        **settings: Any,
    ) -> None:
        """Build the layer.

        Args:
            dim: C.
            num_heads: Heads.
            qk_dim: Channels of a head's queries and keys, a multiple of 4.
            head_dim: Channels of a head's values.
            rope: The rotation.
            grids: Rows and columns of patches that it will be called with.
            **settings: As of `ElasticVitAttention`.
        """
        super().__init__(dim, num_heads, qk_dim, head_dim, **settings)
        self._heads = as_axis(num_heads)
        self._half = rope.half
        width = as_axis(qk_dim).size
        if rope.kind == "mixed":
            self.freqs = nn.Parameter(_initial(self._heads.size, width, rope.temperature))
            self.tables = coordinate_tables(rope, grids)
        else:
            self.freqs = None
            self.tables = rotation_tables(rope, width, grids)

    def regions(
        self, sizes: RopeAttentionSizes, alignment: Alignment = "prefix"
    ) -> dict[str, Region]:
        """The frequencies of the heads."""
        if self.freqs is None:
            return {}
        return {"freqs": Region((self._heads.range(1, sizes.num_heads, alignment),))}

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The heads, with their frequencies."""
        (heads,) = super().tied_axes()
        if self.freqs is None:
            return (heads,)
        return (replace(heads, places=(*heads.places, ("freqs", tuple(self.freqs.shape), 1))),)

    def positioned(
        self, q: Tensor, k: Tensor, sizes: RopeAttentionSizes, context: Context = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, heads, N, qk_dim), those of patches rotated."""
        table: Tensor = self.tables(sizes.grid)
        if self.freqs is not None:
            table = get_mixed_freqs(self.tensors(sizes, context)["freqs"], *table)
        prefix = sizes.num_prefix_tokens
        return self._rotated(q, table, prefix), self._rotated(k, table, prefix)

    def _rotated(self, x: Tensor, table: Tensor, prefix: int) -> Tensor:
        if not prefix:
            rotated: Tensor = apply_rot_embed_cat(x, table, half=self._half)
            return rotated
        patches = apply_rot_embed_cat(x[:, :, prefix:], table, half=self._half)
        return torch.cat([x[:, :, :prefix], patches], dim=2)


def _initial(num_heads: int, width: int, temperature: float) -> Tensor:
    """(2, heads, width / 2) frequencies: those of each head's rotated by an angle of its own.

    Source: Rotary Position Embedding for Vision Transformer (ECCV 2024), section 3.2.
    """
    bands = temperature ** -(torch.arange(0, width, 4) / width)
    angles = torch.rand(num_heads, 1) * 2 * torch.pi
    both = torch.cat(
        [angles.expand(-1, len(bands)), (angles + torch.pi / 2).expand(-1, len(bands))], 1
    )
    return torch.stack([both.cos(), both.sin()]) * bands.repeat(2)
