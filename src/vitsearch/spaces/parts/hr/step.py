"""What a searching block sees: from which map it leads to which."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from vitsearch.spaces.cost import Cost

Grid = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapStep:
    """From one map to another.

    Attributes:
        in_dim: Channels that come in.
        in_grid: Rows and columns that come in.
        embed_dim: Channels that go out, C.
        grid: Rows and columns that go out.
        stride: 1 or 2.
    """

    in_dim: int
    in_grid: Grid
    embed_dim: int
    grid: Grid
    stride: int

    @property
    def in_pixels(self) -> int:
        """Of the map that comes in."""
        return self.in_grid[0] * self.in_grid[1]

    @property
    def pixels(self) -> int:
        """Of the map that goes out."""
        return self.grid[0] * self.grid[1]

    @property
    def is_plain(self) -> bool:
        """Whether nothing about the map changes, so that its shortcut is the map itself."""
        return self.stride == 1 and self.in_dim == self.embed_dim

    @property
    def groups(self) -> int:
        """Of the 1x1 convolution that is the shortcut where the map changes."""
        return gcd(self.in_dim, self.embed_dim)

    def cost(self) -> Cost:
        """Of the shortcut."""
        if self.is_plain:
            return Cost()
        weights = self.in_dim * self.embed_dim // self.groups
        return Cost(weights * self.pixels, weights)
