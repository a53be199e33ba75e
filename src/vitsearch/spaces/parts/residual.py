"""Kinds of block `basic` and `bottleneck`: the residual blocks of ResNets, on a map.

The first block of a stage leads there: it has the stride, and a convolution in its shortcut where
the map changes its size or its width.

Source: Deep Residual Learning for Image Recognition (He et al., 2016), section 4.1. The stride of a
bottleneck is in its 3x3 convolution, as torchvision and timm have it. Elastic widths and depths:
Once-for-All (Cai et al., 2020), whose ResNets choose an expansion, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Map, Opening
from vitsearch.spaces.parts.base import BLOCKS, BlockKind, StageContext, Values
from vitsearch.spaces.parts.resnet_stem import halved
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment

Grid = tuple[int, int]
BASIC_EXPANSION, BOTTLENECK_EXPANSION = 1, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """One of the convolutions of a block, without bias and with a BatchNorm behind it.

    Attributes:
        in_chans: Channels that come in.
        out_chans: Channels that go out.
        kernel_size: Taps a side.
        stride: Pixels from one output to the next.
        grid: Rows and columns that come out.
    """

    in_chans: int
    out_chans: int
    kernel_size: int
    stride: int
    grid: Grid

    def cost(self) -> Cost:
        """Its own and that of its BatchNorm."""
        weights = self.in_chans * self.out_chans * self.kernel_size**2
        return Cost(self.grid[0] * self.grid[1] * weights, weights + 2 * self.out_chans)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualPlan:
    """Sizes of a residual block.

    Attributes:
        in_dim: Channels that come in.
        mid_dim: Channels inside.
        embed_dim: Channels that go out, C.
        bottleneck: Whether it is 1x1, 3x3, 1x1; else 3x3, 3x3.
        stride: Of its (first) 3x3 convolution.
        in_grid: Rows and columns that come in.
        grid: Rows and columns that go out.
    """

    in_dim: int
    mid_dim: int
    embed_dim: int
    bottleneck: bool
    stride: int
    in_grid: Grid
    grid: Grid

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """Those of the branch, in order."""
        ends = [self.in_dim, self.mid_dim, self.mid_dim, self.embed_dim]
        kernels = [1, 3, 1]
        if not self.bottleneck:
            ends, kernels = [self.in_dim, self.mid_dim, self.embed_dim], [3, 3]
        strided = int(self.bottleneck)
        return tuple(
            Convolution(
                in_chans=ends[number],
                out_chans=ends[number + 1],
                kernel_size=kernel,
                stride=self.stride if number == strided else 1,
                grid=self.in_grid if number < strided else self.grid,
            )
            for number, kernel in enumerate(kernels)
        )

    @property
    def shortcut(self) -> Convolution | None:
        """The 1x1 convolution beside the branch; `None` where the map goes by as it is."""
        if self.stride == 1 and self.in_dim == self.embed_dim:
            return None
        return Convolution(
            in_chans=self.in_dim,
            out_chans=self.embed_dim,
            kernel_size=1,
            stride=self.stride,
            grid=self.grid,
        )

    def cost(self) -> Cost:
        """All convolutions, each with its BatchNorm."""
        total = Cost() if self.shortcut is None else self.shortcut.cost()
        return sum((own.cost() for own in self.convolutions), total)

    def words(self, *, short: bool = False) -> str:
        """The kind, and how wide it is inside."""
        kind = "bottleneck" if self.bottleneck else "basic"
        return f"{kind} of {self.mid_dim}" if short else f"{kind} block, {self.mid_dim} inside"

    def segments(self) -> tuple[Segment, ...]:
        """The channels inside, as one run."""
        return (Segment(kind="other", channels=self.mid_dim),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualKind(BlockKind):
    """A residual block of convolutions.

    Attributes:
        bottleneck: See `ResidualPlan`.
        stride: Of the stage: that of its first block.
        expansions: Options for the channels inside, as shares of those that go out.
    """

    bottleneck: bool
    stride: int
    expansions: tuple[Value, ...]

    flow: ClassVar[type] = Map
    opens: ClassVar[bool] = True

    def grid(self, grid: Grid) -> Grid:
        """Rows and columns after the first block."""
        return grid if self.stride == 1 else (halved(grid[0]), halved(grid[1]))

    def choices(self) -> tuple[Choice, ...]:
        """`expansion`."""
        return (Choice(name="expansion", options=self.expansions),)

    def plan(self, values: Values, tokens: Map | Opening) -> ResidualPlan:
        """The sizes for one architecture."""
        opening = isinstance(tokens, Opening)
        before = tokens.before if isinstance(tokens, Opening) else tokens
        after = tokens.after if isinstance(tokens, Opening) else tokens
        expansion = float(values["expansion"] or 0)
        return ResidualPlan(
            in_dim=before.embed_dim,
            mid_dim=max(round(expansion * after.embed_dim), 1),
            embed_dim=after.embed_dim,
            bottleneck=self.bottleneck,
            stride=self.stride if opening else 1,
            in_grid=before.grid,
            grid=after.grid,
        )


def _kind(settings: Settings, context: StageContext, *, bottleneck: bool) -> ResidualKind:
    usual = BOTTLENECK_EXPANSION if bottleneck else BASIC_EXPANSION
    return ResidualKind(
        bottleneck=bottleneck,
        stride=settings.integer("stride", 2 if context.index else 1, maximum=2),
        expansions=settings.numbers("expansions", (usual,)),
    )


@BLOCKS.register("basic")
def _basic(settings: Settings, context: StageContext) -> ResidualKind:
    return _kind(settings, context, bottleneck=False)


@BLOCKS.register("bottleneck")
def _bottleneck(settings: Settings, context: StageContext) -> ResidualKind:
    return _kind(settings, context, bottleneck=True)
