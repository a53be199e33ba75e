"""Attention with relative positions on keys and values, rows and columns apart.

Source: AutoFormer (ICCV 2021), section 3, after Self-Attention with Relative Position
Representations (2018).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from vitsearch.elastic.attention import AttentionLike, ElasticHeads
from vitsearch.elastic.axis import Alignment, AxisLike


class RelativeAttentionSizes(AttentionLike, Protocol):
    """Channels, heads and grid; see `vitsearch.spaces.parts.RelativeAttentionPlan`."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens."""

    @property
    def dense(self) -> bool:
        """Which form is the cheaper one."""


class ElasticRelativeAttention(ElasticHeads[RelativeAttentionSizes]):
    """Scores add q . r_k (scaled like q . k), outputs add the attention-weighted r_v.

    The embedding r of a query and a key patch is an entry of the table of rows plus one of the
    table of columns, by their distances, which are clamped to `max_distance`; entry 0 of both
    wherever one of the two is no patch. There are two forms with the same result. *Dense*: r for
    each pair of tokens. *Tables*: products with the entries, which are then looked up; many pairs
    share an entry, so it is cheaper where tokens are many.
    """

    def __init__(
        self, dim: AxisLike, num_heads: AxisLike, head_dim: int, *, max_distance: int
    ) -> None:
        super().__init__(dim, num_heads, head_dim)
        self.max_distance = max_distance
        shape = (2, 2 * max_distance + 2, head_dim)  # rows and columns
        self.relative_keys = nn.Parameter(torch.empty(shape))
        self.relative_values = nn.Parameter(torch.empty(shape))
        for table in (self.relative_keys, self.relative_values):
            nn.init.trunc_normal_(table, std=0.02)

    def active(
        self, sizes: RelativeAttentionSizes, alignment: Alignment = "prefix"
    ) -> dict[str, Tensor]:
        """The tables whole: all heads share them."""
        return {"relative_keys": self.relative_keys, "relative_values": self.relative_values}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sizes: RelativeAttentionSizes) -> Tensor:
        """In the cheaper of the two forms."""
        q = q * sizes.head_dim**-0.5
        places = self._places(sizes.grid, q.device)
        form = self._dense if sizes.dense else self._by_tables
        return form(q, k, v, sizes.grid, places)

    def _places(self, grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Entries by query row and key row, and by query column and key column."""

        def entries(count: int) -> Tensor:
            line = torch.arange(count, device=device)
            distance = (line[None] - line[:, None]).clamp(-self.max_distance, self.max_distance)
            return distance + self.max_distance + 1

        return entries(grid[0]), entries(grid[1])

    def _dense(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], places: tuple[Tensor, Tensor]
    ) -> Tensor:
        prefix = q.shape[2] - grid[0] * grid[1]
        rows = places[0][:, None, :, None].expand(*grid, *grid).reshape(grid[0] * grid[1], -1)
        columns = places[1][None, :, None, :].expand(*grid, *grid).reshape(grid[0] * grid[1], -1)
        index = nn.functional.pad(torch.stack([rows, columns]), (prefix, 0, prefix, 0))
        keys = self.relative_keys[0][index[0]] + self.relative_keys[1][index[1]]  # (N, N, head_dim)
        values = self.relative_values[0][index[0]] + self.relative_values[1][index[1]]
        scores = q @ k.transpose(-2, -1) + torch.einsum("bhnd,nmd->bhnm", q, keys)
        weights = scores.softmax(dim=-1)
        return weights @ v + torch.einsum("bhnm,nmd->bhnd", weights, values)

    def _by_tables(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], places: tuple[Tensor, Tensor]
    ) -> Tensor:
        entries = self.relative_keys.shape[1]
        met = q @ self.relative_keys.flatten(0, 1).T  # (B, heads, N, 2 * entries)
        weights = (q @ k.transpose(-2, -1) + _looked_up(met, grid, places)).softmax(dim=-1)
        gathered = _gathered(weights, entries, grid, places)
        return weights @ v + gathered @ self.relative_values.flatten(0, 1)


def _looked_up(met: Tensor, grid: tuple[int, int], places: tuple[Tensor, Tensor]) -> Tensor:
    """Products with the entries (B, heads, N, 2 * entries) to scores of pairs (B, heads, N, N)."""
    batch, heads, tokens, both = met.shape
    prefix = tokens - grid[0] * grid[1]
    rows, columns = met[:, :, prefix:].reshape(batch, heads, *grid, both).chunk(2, dim=-1)
    # A row's score is the same for all keys of a row: look it up once, spread it out.
    by_row = rows.gather(-1, places[0][:, None].expand(batch, heads, *grid, grid[0]))
    by_column = columns.gather(-1, places[1].expand(batch, heads, *grid, grid[1]))
    patches = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
    beside = met[..., 0] + met[..., both // 2]  # (B, heads, N): a prefix token on either side
    first = beside[:, :, prefix:, None].expand(-1, -1, -1, prefix)
    top = beside[:, :, :prefix, None].expand(-1, -1, -1, tokens)
    return torch.cat([top, torch.cat([first, patches], dim=-1)], dim=2)


def _gathered(
    weights: Tensor, entries: int, grid: tuple[int, int], places: tuple[Tensor, Tensor]
) -> Tensor:
    """Attention of pairs (B, heads, N, N), added up by entry (B, heads, N, 2 * entries)."""
    batch, heads, tokens, _ = weights.shape
    prefix = tokens - grid[0] * grid[1]
    patches = weights[:, :, prefix:, prefix:].reshape(batch, heads, *grid, *grid)
    zeros = weights.new_zeros(batch, heads, *grid, entries)
    row_places = places[0][:, None].expand(batch, heads, *grid, grid[0])
    column_places = places[1].expand(batch, heads, *grid, grid[1])
    by_row = zeros.scatter_add(-1, row_places, patches.sum(dim=-1)).flatten(2, 3)
    by_column = zeros.scatter_add(-1, column_places, patches.sum(dim=-2)).flatten(2, 3)
    beside = weights[:, :, prefix:, :prefix].sum(dim=-1, keepdim=True)
    of_patches = torch.cat([beside, by_row[..., 1:], beside, by_column[..., 1:]], dim=-1)
    total = weights[:, :, :prefix].sum(dim=-1, keepdim=True)
    blank = total.new_zeros(batch, heads, prefix, entries - 1)
    of_prefix = torch.cat([total, blank, total, blank], dim=-1)
    return torch.cat([of_prefix, of_patches], dim=2)
