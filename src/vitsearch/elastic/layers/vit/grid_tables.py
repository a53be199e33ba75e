"""Numbers that follow from the grid of patches alone: rotations by position, relative positions.

They are made once for each grid, move with the network between devices and precisions, and are in
no state dict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from timm.layers import RotaryEmbeddingCat, RotaryEmbeddingDinoV3, gen_relative_position_index
from timm.layers.pos_embed_sincos import get_mixed_grid
from torch import Tensor, nn

Grid = tuple[int, int]


class RopeLike(Protocol):
    """How positions become angles; see `vitsearch.spaces.parts.RopeKind`."""

    @property
    def kind(self) -> str:
        """`cat`, `dinov3` or `mixed`."""

    @property
    def temperature(self) -> float:
        """Base of the fixed frequencies."""

    @property
    def offset(self) -> float:
        """Added to rows and columns."""

    @property
    def indexing(self) -> str:
        """`ij` or `xy`."""

    @property
    def half(self) -> bool:
        """Whether a pair is made of channels j and j + D/2."""

    @property
    def reference_grid(self) -> Grid | None:
        """The grid to which coordinates are scaled."""

    @property
    def dynamic(self) -> bool:
        """Whether angles are computed in the precision of the network."""


class GridTables(nn.Module):
    """A table for each grid that a layer is called with.

    Attributes:
        grids: Those grids.
    """

    def __init__(self, make: Callable[[Grid], nn.Module], grids: Sequence[Grid]) -> None:
        super().__init__()
        self._make = make
        self.grids = tuple(grids)
        self.tables = nn.ModuleDict({_name(grid): make(grid) for grid in self.grids})

    def set_grids(self, grids: Sequence[Grid], like: Tensor) -> None:
        """Make the tables of other grids, on the device and in the precision of a tensor."""
        self.grids = tuple(grids)
        self.tables = nn.ModuleDict({_name(grid): self._make(grid) for grid in self.grids})
        self.tables.to(device=like.device, dtype=like.dtype)

    @property
    def rotation(self) -> nn.Module:
        """Of tables of fixed frequencies timm's own layer, for the first grid."""
        found: nn.Module = self.tables[_name(self.grids[0])].rope  # type: ignore[assignment]
        return found

    def forward(self, grid: Grid) -> Tensor:
        """The table of one of the grids."""
        found: Tensor = self.tables[_name(grid)]()
        return found


def _name(grid: Grid) -> str:
    return f"{grid[0]}x{grid[1]}"


def rotation_tables(rope: RopeLike, dim: int, grids: Sequence[Grid]) -> GridTables:
    """Sines and cosines (patches, 2 * dim) of fixed frequencies, for `apply_rot_embed_cat`.

    Args:
        rope: The rotation, `cat` or `dinov3`.
        dim: Channels of a head's queries and keys.
        grids: Rows and columns of patches.
    """
    return GridTables(partial(_Rotation, rope, dim), grids)


def coordinate_tables(rope: RopeLike, grids: Sequence[Grid]) -> GridTables:
    """Both coordinates (2, patches) of each patch, in the order of `rope.indexing`."""
    return GridTables(partial(_coordinates, rope.indexing), grids)


def distance_tables(grids: Sequence[Grid]) -> GridTables:
    """The row (1 + patches, 1 + patches) of BEiT's table for each query and key."""
    return GridTables(_distances, grids)


class _Rotation(nn.Module):
    """timm's layer of fixed frequencies for one grid."""

    def __init__(self, rope: RopeLike, dim: int, grid: Grid) -> None:
        super().__init__()
        self._grid = list(grid)
        self._dynamic = rope.dynamic
        settings = {
            "dim": dim,
            "temperature": rope.temperature,
            "grid_offset": rope.offset,
            "grid_indexing": rope.indexing,
            "rotate_half": rope.half,
        }
        self.rope: nn.Module
        self._keeps_table = True
        if rope.kind == "dinov3":
            self.rope = RotaryEmbeddingDinoV3(feat_shape=list(grid), **settings)
        else:
            # With a table of its own it would never compute another, whatever the precision.
            self._keeps_table = not rope.dynamic
            self.rope = RotaryEmbeddingCat(
                feat_shape=list(grid) if self._keeps_table else None,
                in_pixels=False,
                ref_feat_shape=None if rope.reference_grid is None else list(rope.reference_grid),
                **settings,
            )

    def forward(self) -> Tensor:
        """(patches, 2 * dim)."""
        found: Tensor
        if self._keeps_table:
            found = self.rope.get_embed()  # type: ignore[operator]
            if not self._dynamic or found.dtype == torch.float32:
                return found
        found = self.rope.get_embed(shape=self._grid)  # type: ignore[operator]
        return found


class _WholeNumbers(nn.Module):
    """A table that keeps its precision."""

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values, persistent=False)

    def forward(self) -> Tensor:
        return self.values


def _coordinates(indexing: str, grid: Grid) -> nn.Module:
    return _WholeNumbers(torch.stack(get_mixed_grid(list(grid), indexing)).long())


def _distances(grid: Grid) -> nn.Module:
    return _WholeNumbers(gen_relative_position_index(grid, class_token=True))
