"""Attention with relative positions on keys and values, rows and columns apart.

Source: AutoFormer (ICCV 2021), section 3, after Self-Attention with Relative Position
Representations (2018).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike
from vitsearch.elastic.layers.attention import AttentionLike, ElasticHeads
from vitsearch.elastic.layers.summing_attention import summing_attention
from vitsearch.elastic.region import Region


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
    each pair of tokens. *Tables*: products with the entries, looked up for rows and columns of
    keys; many pairs share an entry, so it is cheaper where tokens are many.
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

    def regions(
        self, sizes: RelativeAttentionSizes, alignment: Alignment = "prefix"
    ) -> dict[str, Region]:
        """The tables whole: all heads share them."""
        return dict.fromkeys(("relative_keys", "relative_values"), Region(()))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sizes: RelativeAttentionSizes) -> Tensor:
        """In the cheaper of the two forms."""
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
        index = F.pad(torch.stack([rows, columns]), (prefix, 0, prefix, 0))
        keys = self.relative_keys[0][index[0]] + self.relative_keys[1][index[1]]  # (N, N, head_dim)
        values = self.relative_values[0][index[0]] + self.relative_values[1][index[1]]
        q = q * q.shape[-1] ** -0.5
        scores = q @ k.transpose(-2, -1) + torch.einsum("bhnd,nmd->bhnm", q, keys)
        weights = scores.softmax(dim=-1)
        return weights @ v + torch.einsum("bhnm,nmd->bhnd", weights, values)

    def _by_tables(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], places: tuple[Tensor, Tensor]
    ) -> Tensor:
        """With attention's scores and weights by rows and columns of keys, never by pairs.

        What all keys of a query have in common does not change its weights, and these add up to 1.
        So entry 0, which prefix tokens get, is taken off the keys' tables, and given as a whole to
        every value.
        """
        prefix = q.shape[2] - grid[0] * grid[1]
        keys, _ = _apart(self.relative_keys)
        values, beside = _apart(self.relative_values)
        scores = _looked_up(q @ keys.T, grid, places)
        attended, sums = summing_attention(q, k, v, scores, _lines(grid, prefix, q.device))
        gathered = _gathered(sums, len(values), grid, places)
        return attended + F.linear(gathered, values.T, beside)


def _apart(table: Tensor) -> tuple[Tensor, Tensor]:
    """A table (2, entries, head_dim) as (2 * entries, head_dim) without what entry 0 is: that."""
    beside = table[0, 0] + table[1, 0]
    return torch.cat([table[0] - beside, table[1]]), beside


def _lines(grid: tuple[int, int], prefix: int, device: torch.device) -> Tensor:
    """(N, rows + columns) which row and column a token is in; none for a prefix token."""
    rows, columns = (torch.eye(count, device=device) for count in grid)
    of_rows, of_columns = rows.repeat_interleave(grid[1], 0), columns.repeat(grid[0], 1)
    return F.pad(torch.cat([of_rows, of_columns], dim=1), (0, 0, prefix, 0))


def _looked_up(met: Tensor, grid: tuple[int, int], places: tuple[Tensor, Tensor]) -> Tensor:
    """Products with entries (B, heads, N, 2 * entries) by line (B, heads, N, rows + columns)."""
    batch, heads, tokens, both = met.shape
    prefix = tokens - grid[0] * grid[1]
    _, patches = met.split_with_sizes([prefix, tokens - prefix], dim=2)
    rows, columns = patches.reshape(batch, heads, *grid, both).chunk(2, dim=-1)
    by_row = rows.gather(-1, places[0][:, None].expand(batch, heads, *grid, grid[0]))
    by_column = columns.gather(-1, places[1].expand(batch, heads, *grid, grid[1]))
    return F.pad(torch.cat([by_row, by_column], dim=-1).flatten(2, 3), (0, 0, prefix, 0))


def _gathered(
    sums: Tensor, entries: int, grid: tuple[int, int], places: tuple[Tensor, Tensor]
) -> Tensor:
    """Attention by line (B, heads, N, rows + columns), added up by entry (B, heads, N, entries)."""
    batch, heads, tokens, _ = sums.shape
    prefix = tokens - grid[0] * grid[1]
    _, patches = sums.split_with_sizes([prefix, tokens - prefix], dim=2)
    patches = patches.reshape(batch, heads, *grid, -1)
    rows, columns = patches.split_with_sizes(list(grid), dim=-1)
    zeros = sums.new_zeros(batch, heads, *grid, entries // 2)
    row_places = places[0][:, None].expand(batch, heads, *grid, grid[0])
    by_row = zeros.scatter_add(-1, row_places, rows)
    by_column = zeros.scatter_add(-1, places[1].expand(batch, heads, *grid, grid[1]), columns)
    return F.pad(torch.cat([by_row, by_column], dim=-1).flatten(2, 3), (0, 0, prefix, 0))
