"""What flows between the nodes of a network: tokens, a map, or both. Shapes, without tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """(B, N, C): patch tokens row by row, and prefix tokens in front of them.

    Attributes:
        embed_dim: C.
        grid: Rows and columns of patch tokens.
        num_prefix_tokens: Tokens in front of the patches.
        placed: Whether the others are patches of the image; if not, they are one row of the grid.
        num_left: How many tokens stand for the patches of the grid; `None` for one each.
    """

    embed_dim: int
    grid: tuple[int, int]
    num_prefix_tokens: int
    placed: bool = True
    num_left: int | None = None

    unit = "tokens"

    @property
    def num_tokens(self) -> int:
        """N, prefix tokens included."""
        patches = self.grid[0] * self.grid[1] if self.num_left is None else self.num_left
        return patches + self.num_prefix_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """(B, C, H, W).

    Attributes:
        embed_dim: C.
        grid: Rows and columns, H and W.
    """

    embed_dim: int
    grid: tuple[int, int]

    num_prefix_tokens = 0
    unit = "pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapAndTokens:
    """A map (B, C, H, W) together with tokens (B, L, D) that were made of it and have no places.

    Attributes:
        embed_dim: C.
        grid: Rows and columns, H and W.
        token_dim: D.
        num_tokens: L.
    """

    embed_dim: int
    grid: tuple[int, int]
    token_dim: int
    num_tokens: int

    num_prefix_tokens = 0
    unit = "pixels"


Shape = Tokens | Map | MapAndTokens
ImageSize = int | tuple[int, int]
"""Pixels: the side of a square, or height and width."""


def sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width."""
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the first block of a stage sees if it leads there itself, as those of ResNets do.

    Attributes:
        before: What comes in.
        after: What goes out.
    """

    before: Shape
    after: Shape


class Seen(Protocol):
    """What a block sees: what comes in, and all else that its stage fixes. Hashable."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFlow:
    """What flows in a stage.

    Attributes:
        shape: Out of the stage, and out of each of its blocks unless `slots` says more.
        first: What its first block sees; the others see `shape`.
        slots: For each slot what its block sees, and what comes out of it; empty where all but the
            first are alike.
    """

    shape: Shape
    first: Seen
    slots: tuple[tuple[Seen, Shape], ...] = ()

    def seen(self, slot: int) -> Seen:
        """What the block of a slot sees."""
        if self.slots:
            return self.slots[slot][0]
        return self.shape if slot else self.first

    def given(self, slot: int) -> Shape:
        """What comes out of the block of a slot."""
        return self.slots[slot][1] if self.slots else self.shape
