"""Attention with a learned bias for each relative position and head (BEiT, ICLR 2022)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, TiedAxis
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention, VitAttentionSizes
from vitsearch.elastic.layers.vit.grid_tables import Grid, distance_tables
from vitsearch.elastic.region import Region

TABLE = "relative_position_bias_table"


class BeitAttentionSizes(VitAttentionSizes, Protocol):
    """With the grid; see `vitsearch.spaces.parts.BeitAttentionPlan`."""

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""


class ElasticBeitAttention(ElasticVitAttention[BeitAttentionSizes]):
    """Attention on a class token and a grid of patches.

    Attributes:
        relative_position_bias_table: (distances, heads).
        tables: Which distance each query and key have.
    """

    def __init__(
        self,
        dim: AxisLike,
        num_heads: AxisLike,
        qk_dim: AxisLike,
        head_dim: AxisLike,
        *,
        grid: Grid,
        num_distances: int,
        **settings: Any,
    ) -> None:
        """Build the layer.

        Args:
            dim: C.
            num_heads: Heads.
            qk_dim: Channels of a head's queries and keys.
            head_dim: Channels of a head's values.
            grid: Rows and columns of patches.
            num_distances: Rows of the table.
            **settings: As of `ElasticVitAttention`.
        """
        super().__init__(dim, num_heads, qk_dim, head_dim, **settings)
        self._heads = as_axis(num_heads)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(num_distances, self._heads.size)
        )
        self.tables = distance_tables([grid])

    def regions(
        self, sizes: BeitAttentionSizes, alignment: Alignment = "prefix"
    ) -> dict[str, Region]:
        """The columns of the heads."""
        return {TABLE: Region((self._heads.range(1, sizes.num_heads, alignment),))}

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The heads, with their columns of the table."""
        (heads,) = super().tied_axes()
        shape = tuple(self.relative_position_bias_table.shape)
        return (replace(heads, places=(*heads.places, (TABLE, shape, 1))),)

    def score_bias(self, sizes: BeitAttentionSizes, context: Context = PLAIN) -> Tensor:
        """(1, heads, N, N), by the distance of query and key."""
        distances = self.tables(sizes.grid)
        biases = self.tensors(sizes, context)[TABLE][distances.flatten()]
        return biases.view(*distances.shape, -1).permute(2, 0, 1)[None].contiguous()
