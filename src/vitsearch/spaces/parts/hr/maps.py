"""What stands between searching blocks: the stem, sums of resolutions, what leads to the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import ImageSize, Map, sides
from vitsearch.spaces.parts.base import STEM_WIDTH, STEMS, StageContext, Values
from vitsearch.spaces.parts.hr.block import MapLayers, read_layers
from vitsearch.spaces.parts.resnet_stem import halved
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import grid_in_words

TAPS = 9
Grid = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvsStemPlan:
    """Sizes of 3x3 convolutions, one after the other, each with BatchNorm and activation.

    Attributes:
        in_chans: Channels of the image.
        embed_dim: Channels of each convolution, C.
        strides: Of each.
        grids: Rows and columns behind each.
        layers: What all layers of the network have in common.
    """

    in_chans: int
    embed_dim: int
    strides: tuple[int, ...]
    grids: tuple[Grid, ...]
    layers: MapLayers

    def cost(self) -> Cost:
        """Convolutions without bias, BatchNorms."""
        total, before = Cost(), self.in_chans
        for rows, columns in self.grids:
            weights = before * self.embed_dim * TAPS
            total = total + Cost(rows * columns * weights, weights + 2 * self.embed_dim)
            before = self.embed_dim
        return total

    def words(self, *, short: bool = False) -> str:
        """How many, and the map."""
        return f"{len(self.strides)} 3x3 convs: {grid_in_words(self.grids[-1])} pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvsStem:
    """3x3 convolutions at one width.

    Attributes:
        width: C.
        strides: Of each convolution, 1 or 2.
        layers: What all layers of the network have in common.
    """

    width: int
    strides: tuple[int, ...]
    layers: MapLayers

    gives = Map

    def choices(self) -> tuple[Choice, ...]:
        """`width`, of one option."""
        return (Choice(name=STEM_WIDTH, options=(self.width,)),)

    def grids(self, image_size: ImageSize) -> tuple[Grid, ...]:
        """Rows and columns behind each convolution."""
        found = [sides(image_size)]
        for stride in self.strides:
            rows, columns = found[-1]
            found.append((halved(rows), halved(columns)) if stride == 2 else (rows, columns))
        return tuple(found[1:])

    def grid(self, values: Values, image_size: ImageSize) -> Grid:
        """Rows and columns of the map."""
        return self.grids(image_size)[-1]

    def plan(
        self,
        values: Values,
        *,
        image_size: ImageSize,
        in_chans: int,
        embed_dim: int,
        num_prefix_tokens: int,
    ) -> ConvsStemPlan:
        """The sizes for one architecture."""
        return ConvsStemPlan(
            in_chans=in_chans,
            embed_dim=self.width,
            strides=self.strides,
            grids=self.grids(image_size),
            layers=self.layers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSumPlan:
    """Maps of one width added up, each resized to the first one.

    Attributes:
        embed_dim: C.
        doubled: For each map whether it is enlarged twice (nearest pixels) before.
        activation: Behind the sum; empty for none.
    """

    embed_dim: int
    doubled: tuple[bool, ...]
    activation: str

    def cost(self) -> Cost:
        """Nothing that counts."""
        return Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class MapConcatPlan:
    """Maps of any widths side by side, resized bilinearly to the first one.

    Attributes:
        embed_dim: Channels of all together.
    """

    embed_dim: int

    def cost(self) -> Cost:
        """Nothing that counts."""
        return Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvUnitPlan:
    """A 1x1 convolution with BatchNorm and activation.

    Attributes:
        in_dim: Channels that come in.
        embed_dim: Channels that go out.
        grid: Rows and columns.
        layers: What all layers of the network have in common.
    """

    in_dim: int
    embed_dim: int
    grid: Grid
    layers: MapLayers

    def cost(self) -> Cost:
        """The convolution without bias, and its BatchNorm."""
        weights = self.in_dim * self.embed_dim
        return Cost(self.grid[0] * self.grid[1] * weights, weights + 2 * self.embed_dim)

    def words(self, *, short: bool = False) -> str:
        """The width."""
        return f"1x1 conv to {self.embed_dim} channels"


@STEMS.register("convs")
def _convs_stem(settings: Settings, context: StageContext) -> ConvsStem:
    settings.flag("class_token", False)  # the head reads it
    strides = settings.section("strides") or (2, 2)
    if not isinstance(strides, Sequence) or any(stride not in (1, 2) for stride in strides):
        raise SpaceError(f"{settings.path}.strides={strides} must be a list of 1 and 2")
    own = Settings(context.config.get("block") or {}, "space.block")
    return ConvsStem(
        width=settings.integer("width"),
        strides=tuple(strides),
        layers=read_layers(own),
    )
