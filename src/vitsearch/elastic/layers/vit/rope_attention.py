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

    @property
    def num_pairs(self) -> int:
        """Pairs of channels of a head's queries and keys."""


class ElasticRopeAttention(ElasticVitAttention[RopeAttentionSizes]):
    """Scores depend on the differences of positions; queries and keys are cut pair by pair.

    A pair of channels is rotated by a frequency of its own. Where the number of pairs is a choice,
    every head has its pairs in an order of its own, and takes the first of them.

    Attributes:
        freqs: (2, heads, pairs) learned frequencies for both coordinates; `None` where they are
            fixed.
        pairs: (heads, pairs) which of the fixed frequencies a pair has: whole numbers from 0, in
            floating point, which averages of weights leave as they are. `None` where frequencies
            are learned or all heads have all pairs in their order.
        tables: The rotation of each patch by all frequencies; where these are learned, its
            coordinates.
    """

    freqs: nn.Parameter | None
    pairs: Tensor | None

    def __init__(
        self,
        dim: AxisLike,
        num_heads: AxisLike,
        num_pairs: AxisLike,
        head_dim: AxisLike,
        *,
        rope: RopeLike,
        grids: Sequence[Grid],
        full_qk_dim: int | None = None,
        **settings: Any,
    ) -> None:
        """Build the layer.

        Args:
            dim: C.
            num_heads: Heads.
            num_pairs: Pairs of channels of a head's queries and keys.
            head_dim: Channels of a head's values.
            rope: The rotation.
            grids: Rows and columns of patches that it will be called with.
            full_qk_dim: Channels of a head with all pairs, a multiple of 4; `None` where heads have
                them all.
            **settings: As of `ElasticVitAttention`.
        """
        num_pairs = as_axis(num_pairs)
        of_head = (2, num_pairs) if rope.half else (num_pairs, 2)
        super().__init__(dim, num_heads, of_head, head_dim, **settings)
        self._heads, self._pairs, self._half = as_axis(num_heads), num_pairs, rope.half
        full = 2 * num_pairs.size if full_qk_dim is None else full_qk_dim
        first = evenly_spaced(num_pairs.size, full // 2)
        self.chooses_pairs = full_qk_dim is not None
        self.freqs = None
        self.register_buffer("pairs", None)
        if rope.kind == "mixed":
            made = _initial(self._heads.size, full, rope.temperature)
            self.freqs = nn.Parameter(made[..., first].contiguous())
            self.tables = coordinate_tables(rope, grids)
        else:
            if self.chooses_pairs:
                self.pairs = first.expand(self._heads.size, -1).to(self.q.weight).contiguous()
            self.tables = rotation_tables(rope, full, grids)

    def regions(
        self, sizes: RopeAttentionSizes, alignment: Alignment = "prefix"
    ) -> dict[str, Region]:
        """The frequencies of the heads and pairs."""
        found = {}
        for name, first in (("freqs", 1), ("pairs", 0)):
            if getattr(self, name) is not None:
                heads = self._heads.range(first, sizes.num_heads, alignment)
                pairs = self._pairs.range(first + 1, sizes.num_pairs, alignment)
                found[name] = Region((heads, pairs))
        return found

    def query_shape(self, sizes: RopeAttentionSizes) -> tuple[int, ...]:
        """Pairs of neighbours, or the first and the second channels of all pairs."""
        return (2, sizes.num_pairs) if self._half else (sizes.num_pairs, 2)

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The heads, with their frequencies."""
        (heads,) = super().tied_axes()
        return (replace(heads, places=(*heads.places, *self._frequency_places(0))),)

    def pair_axis(self) -> TiedAxis | None:
        """The pairs inside every head, with their frequencies; `None` where all stay in order."""
        if not self.chooses_pairs:
            return None
        grid = 1 if self._half else 0
        made = [*self.q.places_of("q", rows=1 + grid), *self.k.places_of("k", rows=1 + grid)]
        own = self._frequency_places(1)
        groups = (*(0 for _ in made), *(dim - 1 for _, _, dim in own))
        return TiedAxis((*made, *own), "k.weight", groups=groups)

    def channels_of_pairs(self) -> Tensor:
        """(pairs, 2) the channels of a head that are rotated together."""
        channels = torch.arange(2 * self._pairs.size, device=self.q.weight.device)
        return channels.view(2, -1).T if self._half else channels.view(-1, 2)

    def _frequency_places(self, after_heads: int) -> tuple[tuple[str, tuple[int, ...], int], ...]:
        found = []
        for name, heads in (("freqs", 1), ("pairs", 0)):
            tensor = getattr(self, name)
            if tensor is not None:
                found.append((name, tuple(tensor.shape), heads + after_heads))
        return tuple(found)

    def positioned(
        self, q: Tensor, k: Tensor, sizes: RopeAttentionSizes, context: Context = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, heads, N, qk_dim), those of patches rotated."""
        table: Tensor = self.tables(sizes.grid)
        own = self.tensors(sizes, context)
        if self.freqs is not None:
            table = get_mixed_freqs(own["freqs"], *table)
        elif self.pairs is not None:
            table = self._of_pairs(table, own["pairs"].long())
        prefix = sizes.num_prefix_tokens
        return self._rotated(q, table, prefix), self._rotated(k, table, prefix)

    def _of_pairs(self, table: Tensor, pairs: Tensor) -> Tensor:
        """A table (patches, 2 * channels) of all frequencies, by head: (heads, patches, ...)."""
        parts = []
        for part in table.chunk(2, -1):  # sines, cosines
            by_pair = part.chunk(2, -1)[0] if self._half else part[:, ::2]
            own = by_pair[:, pairs].transpose(0, 1)
            parts.append(torch.cat([own, own], -1) if self._half else own.repeat_interleave(2, -1))
        return torch.cat(parts, -1)

    def _rotated(self, x: Tensor, table: Tensor, prefix: int) -> Tensor:
        if not prefix:
            rotated: Tensor = apply_rot_embed_cat(x, table, half=self._half)
            return rotated
        patches = apply_rot_embed_cat(x[:, :, prefix:], table, half=self._half)
        return torch.cat([x[:, :, :prefix], patches], dim=2)


def evenly_spaced(count: int, size: int) -> Tensor:
    """(count,) whole numbers below a size, evenly spaced: of all frequencies, some of each kind."""
    return torch.arange(count) * size // count


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
