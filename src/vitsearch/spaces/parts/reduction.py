"""Residual spatial reduction: half the grid, more channels, with a shortcut.

Source: Searching for Efficient Multi-Stage Vision Transformers (2021), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import TRANSITIONS, StageContext, Values
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import grid_in_words

_TAPS = 9  # of a 3x3 convolution


@dataclass(frozen=True, slots=True, kw_only=True)
class ReductionPlan:
    """Sizes of a residual spatial reduction.

    Attributes:
        in_dim: Channels before.
        embed_dim: Channels after; not fewer.
        in_grid: Rows and columns of patch tokens before.
        grid: The same after: half, rounded up.
        num_prefix_tokens: Tokens in front of the patches, before and after.
        norm_eps: Of its LayerNorm.
    """

    in_dim: int
    embed_dim: int
    in_grid: tuple[int, int]
    grid: tuple[int, int]
    num_prefix_tokens: int
    norm_eps: float

    @property
    def num_patches(self) -> int:
        """Patch tokens after."""
        return self.grid[0] * self.grid[1]

    def cost(self) -> Cost:
        """LayerNorm, strided convolution, linear layer for the prefix, position embedding."""
        weights = _TAPS * self.in_dim * self.embed_dim
        conv = Cost(self.num_patches * weights, weights + self.embed_dim)
        prefix = linear_cost(self.in_dim, self.embed_dim, num_tokens=self.num_prefix_tokens)
        return conv + prefix + Cost(0, 2 * self.in_dim + self.num_patches * self.embed_dim)

    def words(self, *, short: bool = False) -> str:
        """Grids and widths before and after."""
        grids = f"{grid_in_words(self.in_grid)} to {grid_in_words(self.grid)} tokens"
        return f"{grids}, width {self.in_dim} to {self.embed_dim}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """A strided convolution for the patches, a linear layer for the prefix tokens, a shortcut.

    Attributes:
        norm_eps: Of its LayerNorm.
    """

    norm_eps: float

    def choices(self) -> tuple[Choice, ...]:
        """None of its own: the widths are the stages'."""
        return ()

    def grid(self, values: Values, grid: tuple[int, int]) -> tuple[int, int]:
        """Half, rounded up.

        Raises:
            SpaceError: Nothing is left to halve.
        """
        if grid == (1, 1):
            raise SpaceError(
                "a reduction needs more than one patch; make the image larger, the patches or the "
                "number of stages smaller"
            )
        return -(-grid[0] // 2), -(-grid[1] // 2)

    def plan(self, values: Values, before: Tokens, after: Tokens) -> ReductionPlan:
        """The sizes for one architecture."""
        return ReductionPlan(
            in_dim=before.embed_dim,
            embed_dim=after.embed_dim,
            in_grid=before.grid,
            grid=after.grid,
            num_prefix_tokens=after.num_prefix_tokens,
            norm_eps=self.norm_eps,
        )


@TRANSITIONS.register("none")
def _none(settings: Settings, context: StageContext) -> None:
    return None


@TRANSITIONS.register("reduction")
def _reduction(settings: Settings, context: StageContext) -> Reduction:
    return Reduction(norm_eps=settings.number("norm_eps", 1e-6))
