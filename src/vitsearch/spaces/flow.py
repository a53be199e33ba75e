"""What flows between the nodes of a network: tokens, or a map. Shapes alone, without tensors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """(B, N, C): patch tokens row by row, and prefix tokens in front of them.

    Attributes:
        embed_dim: C.
        grid: Rows and columns of patch tokens.
        num_prefix_tokens: Tokens in front of the patches.
    """

    embed_dim: int
    grid: tuple[int, int]
    num_prefix_tokens: int

    unit = "tokens"

    @property
    def num_tokens(self) -> int:
        """N, prefix tokens included."""
        return self.grid[0] * self.grid[1] + self.num_prefix_tokens


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


Shape = Tokens | Map


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the first block of a stage sees if it leads there itself, as those of ResNets do.

    Attributes:
        before: What comes in.
        after: What goes out.
    """

    before: Shape
    after: Shape


Seen = Shape | Opening
"""What a block sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFlow:
    """What flows in a stage.

    Attributes:
        shape: Out of each of its blocks.
        first: What its first block sees.
    """

    shape: Shape
    first: Seen

    def seen(self, slot: int) -> Seen:
        """What the block of a slot sees."""
        return self.shape if slot else self.first
