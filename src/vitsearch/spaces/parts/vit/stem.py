"""Stem `vit`: patches as timm's vision transformers cut them, with any tokens in front of them."""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.parts.base import STEMS, StageContext, Values
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.parts.stem import read_patch_sizes
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import grid_in_words

POSITIONS = ("all", "patches", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class VitStemPlan:
    """Sizes of a stem.

    Attributes:
        patch_size: Side of a patch in pixels.
        in_chans: Channels of the image.
        embed_dim: C.
        grid: Rows and columns of patches.
        class_token: Whether there is one.
        distillation: Whether there is a distillation token behind it.
        registers: Register tokens behind these.
        positions: Which tokens have a position embedding: `all`, `patches` or `none`.
        bias: Whether the projection of patches has one.
        embed_norm: Of the projected patches; `None` for none.
        pre_norm: Of all tokens, positions added; `None` for none.
    """

    patch_size: int
    in_chans: int
    embed_dim: int
    grid: tuple[int, int]
    class_token: bool
    distillation: bool
    registers: int
    positions: str
    bias: bool
    embed_norm: NormKind | None
    pre_norm: NormKind | None

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""
        return self.class_token + self.distillation + self.registers

    @property
    def num_patches(self) -> int:
        """Patch tokens."""
        return self.grid[0] * self.grid[1]

    @property
    def num_positions(self) -> int:
        """Tokens with a position embedding."""
        if self.positions == "none":
            return 0
        return self.num_patches + (self.num_prefix_tokens if self.positions == "all" else 0)

    def cost(self) -> Cost:
        """Projection, tokens, position embedding, norms."""
        weights = self.in_chans * self.patch_size**2 * self.embed_dim
        vectors = self.num_prefix_tokens + self.num_positions + self.bias
        total = Cost(self.num_patches * weights, weights + vectors * self.embed_dim)
        for norm in (self.embed_norm, self.pre_norm):
            total = total if norm is None else total + norm.cost(self.embed_dim)
        return total

    def words(self, *, short: bool = False) -> str:
        """Patches and tokens."""
        return f"patches of {self.patch_size} px: {grid_in_words(self.grid)} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class VitStem:
    """Non-overlapping patches, each projected linearly; class, distillation and register tokens.

    Attributes:
        patch_size: Side of a patch in pixels.
        crop: Whether rows and columns of pixels that fill no patch are left out; if not, the patch
            size has to divide the image size.
        class_token: See `VitStemPlan`, as for the fixed settings that follow.
    """

    patch_size: int
    crop: bool
    class_token: bool
    distillation: bool
    registers: int
    positions: str
    bias: bool
    embed_norm: NormKind | None
    pre_norm: NormKind | None

    def choices(self) -> tuple[Choice, ...]:
        """`patch_size`, a single one."""
        return (Choice(name="patch_size", options=(self.patch_size,)),)

    def grid(self, values: Values, image_size: int) -> tuple[int, int]:
        """Rows and columns of patches.

        Raises:
            SpaceError: The patch size does not divide the image size.
        """
        side, patch = image_size // self.patch_size, self.patch_size
        if image_size % patch and not (self.crop and side):
            near = [size for size in (side * patch, (side + 1) * patch) if size]
            raise SpaceError(
                f"patch_size {patch} does not divide image_size {image_size}; nearest: "
                f"{', '.join(map(str, near))}"
            )
        return side, side

    def plan(
        self,
        values: Values,
        *,
        image_size: int,
        in_chans: int,
        embed_dim: int,
        num_prefix_tokens: int,
    ) -> VitStemPlan:
        """The sizes for one architecture."""
        return VitStemPlan(
            patch_size=self.patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            grid=self.grid(values, image_size),
            class_token=self.class_token,
            distillation=self.distillation,
            registers=self.registers,
            positions=self.positions,
            bias=self.bias,
            embed_norm=self.embed_norm,
            pre_norm=self.pre_norm,
        )


@STEMS.register("vit")
def _vit_stem(settings: Settings, context: StageContext) -> VitStem:
    patch_sizes = read_patch_sizes(settings, context)
    if len(patch_sizes) > 1:
        raise SpaceError(
            f"space.patch_sizes={list(patch_sizes)}: stem vit takes one size; take stem patch for "
            f"a choice of sizes"
        )
    head = Settings(context.config.get("head") or {}, "space.head")
    return VitStem(
        patch_size=patch_sizes[0],
        crop=settings.flag("crop", False),
        class_token=settings.flag("class_token", True),
        distillation=head.flag("distillation", False),
        registers=settings.integer("registers", 0, minimum=0),
        positions=settings.word("positions", POSITIONS, "all"),
        bias=settings.flag("bias", True),
        embed_norm=read_norm(settings, "embed_norm", None),
        pre_norm=read_norm(settings, "pre_norm", None),
    )
