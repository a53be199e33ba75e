"""The stem of ResNets: a convolution and max pooling; or one small convolution for small images.

Source: Deep Residual Learning for Image Recognition (He et al., 2016), table 1 and section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Map
from vitsearch.spaces.parts.base import STEM_WIDTH, STEMS, StageContext, Values
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import grid_in_words

_KERNEL, _SMALL_KERNEL = 7, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetStemPlan:
    """Sizes of a ResNet's stem.

    Attributes:
        in_chans: Channels of the image.
        embed_dim: Channels that come out.
        small: Whether it is one 3x3 convolution; else a 7x7 one of stride 2, and max pooling.
        conv_grid: Rows and columns after the convolution.
        grid: Rows and columns that come out.
    """

    in_chans: int
    embed_dim: int
    small: bool
    conv_grid: tuple[int, int]
    grid: tuple[int, int]

    @property
    def kernel_size(self) -> int:
        """Of the convolution."""
        return _SMALL_KERNEL if self.small else _KERNEL

    def cost(self) -> Cost:
        """The convolution without bias, and its BatchNorm."""
        weights = self.in_chans * self.embed_dim * self.kernel_size**2
        rows, columns = self.conv_grid
        return Cost(rows * columns * weights, weights + 2 * self.embed_dim)

    def words(self, *, short: bool = False) -> str:
        """The convolution and the map."""
        size = self.kernel_size
        pooled = "" if self.small else ", max pooling"
        return f"{size}x{size} conv{pooled}: {grid_in_words(self.grid)} pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResNetStem:
    """ReLU(BN(conv)), then max pooling unless it is the small one.

    Attributes:
        widths: Options for the channels that come out.
        small: See `ResNetStemPlan`.
    """

    widths: tuple[int, ...]
    small: bool

    gives = Map

    def choices(self) -> tuple[Choice, ...]:
        """`width`."""
        return (Choice(name=STEM_WIDTH, options=self.widths),)

    def grid(self, values: Values, image_size: int) -> tuple[int, int]:
        """Rows and columns of the map."""
        side = image_size if self.small else halved(self._conv_side(image_size))
        return side, side

    def _conv_side(self, image_size: int) -> int:
        return image_size if self.small else halved(image_size)

    def plan(
        self,
        values: Values,
        *,
        image_size: int,
        in_chans: int,
        embed_dim: int,
        num_prefix_tokens: int,
    ) -> ResNetStemPlan:
        """The sizes for one architecture."""
        side = self._conv_side(image_size)
        return ResNetStemPlan(
            in_chans=in_chans,
            embed_dim=embed_dim,
            small=self.small,
            conv_grid=(side, side),
            grid=self.grid(values, image_size),
        )


def halved(side: int) -> int:
    """What a padded convolution or pooling of stride 2 leaves of a side."""
    return (side + 1) // 2


@STEMS.register("resnet")
def _resnet_stem(settings: Settings, context: StageContext) -> ResNetStem:
    settings.flag("class_token", False)  # the head reads it
    return ResNetStem(
        widths=settings.integers("widths", (64,)), small=settings.flag("small", False)
    )
