"""The convolutional stem of ViT-ResNAS: three 3x3 convolutions at half size, then patches.

Source: Searching for Efficient Multi-Stage Vision Transformers (2021), section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.parts.base import STEMS, StageContext, Values
from vitsearch.spaces.parts.stem import PatchStem, PatchStemPlan, read_patch_sizes
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import grid_in_words

_TAPS = 9  # of a 3x3 convolution


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvStemPlan:
    """Sizes of a convolutional stem.

    Attributes:
        mid_chans: Channels of the 3x3 convolutions.
        in_chans: Channels of the image.
        half_size: Side of the feature map after the first, strided convolution.
        patch: The projection of that feature map to tokens, by patches of half the size.
    """

    mid_chans: int
    in_chans: int
    half_size: int
    patch: PatchStemPlan

    @property
    def embed_dim(self) -> int:
        """C."""
        return self.patch.embed_dim

    def cost(self) -> Cost:
        """Three convolutions without bias, each with a BatchNorm, and the projection."""
        weights = (self.in_chans + 2 * self.mid_chans) * self.mid_chans * _TAPS
        return Cost(self.half_size**2 * weights, weights + 6 * self.mid_chans) + self.patch.cost()

    def words(self, *, short: bool = False) -> str:
        """Patches of the image and tokens."""
        grid = grid_in_words(self.patch.grid)
        return f"conv, patches of {2 * self.patch.patch_size} px: {grid} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvStem:
    """y = ReLU(BN(conv, stride 2)); z = two more; patches of y + z, projected linearly.

    The convolutions serve every patch size; projection, tokens and positions are private to each.

    Attributes:
        patch_sizes: Options, in pixels of the image; even.
        mid_chans: Channels of the 3x3 convolutions.
    """

    patch_sizes: tuple[int, ...]
    mid_chans: int

    def choices(self) -> tuple[Choice, ...]:
        """`patch_size`."""
        return PatchStem(patch_sizes=self.patch_sizes).choices()

    def grid(self, values: Values, image_size: int) -> tuple[int, int]:
        """Rows and columns of patches.

        Raises:
            SpaceError: The patch size does not divide the image size.
        """
        return PatchStem(patch_sizes=self.patch_sizes).grid(values, image_size)

    def plan(
        self,
        values: Values,
        *,
        image_size: int,
        in_chans: int,
        embed_dim: int,
        num_prefix_tokens: int,
    ) -> ConvStemPlan:
        """The sizes for one architecture."""
        return ConvStemPlan(
            mid_chans=self.mid_chans,
            in_chans=in_chans,
            half_size=image_size // 2,
            patch=PatchStemPlan(
                patch_size=int(values["patch_size"] or 0) // 2,
                in_chans=self.mid_chans,
                embed_dim=embed_dim,
                grid=self.grid(values, image_size),
                num_prefix_tokens=num_prefix_tokens,
            ),
        )


@STEMS.register("conv")
def _conv_stem(settings: Settings, context: StageContext) -> ConvStem:
    patch_sizes = read_patch_sizes(settings, context)
    odd = [size for size in patch_sizes if size % 2]
    if odd:
        raise SpaceError(
            f"space.patch_sizes={list(patch_sizes)}: a conv stem halves the image first, so a "
            f"patch size must be even, not {odd[0]}"
        )
    return ConvStem(patch_sizes=patch_sizes, mid_chans=settings.integer("mid_chans", 24))
