"""Stems: how an image becomes tokens. `patch`: one strided convolution and a position embedding."""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.parts.base import STEMS, StageContext, Values
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import grid_in_words


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStemPlan:
    """Sizes of a patch stem.

    Attributes:
        patch_size: Side of a patch in pixels.
        in_chans: Channels of the image.
        embed_dim: C.
        grid: Rows and columns of patches.
        num_prefix_tokens: Tokens in front of the patches: class token, distillation token.
    """

    patch_size: int
    in_chans: int
    embed_dim: int
    grid: tuple[int, int]
    num_prefix_tokens: int = 1

    @property
    def num_patches(self) -> int:
        """Patch tokens, those in front of them not counted."""
        return self.grid[0] * self.grid[1]

    def cost(self) -> Cost:
        """Projection, prefix tokens and position embedding."""
        weights = self.in_chans * self.patch_size**2 * self.embed_dim
        prefix = self.num_prefix_tokens
        embeddings = (prefix + prefix + self.num_patches) * self.embed_dim  # tokens, positions
        return Cost(self.num_patches * weights, weights + self.embed_dim + embeddings)

    def words(self, *, short: bool = False) -> str:
        """Patches and tokens."""
        return f"patches of {self.patch_size} px: {grid_in_words(self.grid)} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStem:
    """Non-overlapping patches, each projected linearly; a class token; learned positions.

    Every patch size has its own projection, class token and position embedding ("private class
    tokens", ViTAS, section 3).
    """

    patch_sizes: tuple[int, ...]

    def choices(self) -> tuple[Choice, ...]:
        """`patch_size`."""
        return (Choice(name="patch_size", options=self.patch_sizes),)

    def grid(self, values: Values, image_size: int) -> tuple[int, int]:
        """Rows and columns of patches.

        Raises:
            SpaceError: The patch size does not divide the image size.
        """
        patch = int(values["patch_size"] or 0)
        if image_size % patch:
            raise SpaceError(
                f"patch_size {patch} does not divide image_size {image_size}; "
                f"choose a multiple of {', '.join(map(str, self.patch_sizes))}"
            )
        return image_size // patch, image_size // patch

    def plan(
        self,
        values: Values,
        *,
        image_size: int,
        in_chans: int,
        embed_dim: int,
        num_prefix_tokens: int,
    ) -> PatchStemPlan:
        """The sizes for one architecture."""
        return PatchStemPlan(
            patch_size=int(values["patch_size"] or 0),
            in_chans=in_chans,
            embed_dim=embed_dim,
            grid=self.grid(values, image_size),
            num_prefix_tokens=num_prefix_tokens,
        )


def read_patch_sizes(settings: Settings, context: StageContext) -> tuple[int, ...]:
    """The stem's own `patch_sizes`, or else the space's."""
    if settings.has("patch_sizes"):
        return settings.integers("patch_sizes")
    if not context.patch_sizes:
        raise SpaceError("space.patch_sizes is missing: sides of a patch in pixels, such as [16]")
    return context.patch_sizes


@STEMS.register("patch")
def _patch_stem(settings: Settings, context: StageContext) -> PatchStem:
    return PatchStem(patch_sizes=read_patch_sizes(settings, context))
