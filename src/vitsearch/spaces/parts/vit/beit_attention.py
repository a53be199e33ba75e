"""Mixer `beit_attention`: attention with a learned bias for each relative position and head.

Source: BEiT (ICLR 2022), section 2.2, after Swin Transformer (ICCV 2021), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.parts.vit.attention import VitAttention, VitAttentionPlan, read_attention
from vitsearch.spaces.settings import Settings

CLASS_TOKEN_DISTANCES = 3
"""From the class token to patches, back, and to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeitAttentionPlan(VitAttentionPlan):
    """Sizes of self-attention on (B, N, C) with a table of relative positions.

    Attributes:
        grid: Rows and columns of patches.
    """

    grid: tuple[int, int]

    @property
    def num_distances(self) -> int:
        """Rows of the table: differences of positions on the grid, and those of the class token."""
        rows, columns = self.grid
        return (2 * rows - 1) * (2 * columns - 1) + CLASS_TOKEN_DISTANCES

    def cost(self) -> Cost:
        """As of attention without positions, and a column of the table for each head."""
        return VitAttentionPlan.cost(self) + Cost(0, self.num_distances * self.num_heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeitAttention(VitAttention):
    """Self-attention with the choices `num_heads`, `qk_dim` and `v_dim`."""

    needs_places: ClassVar[bool] = True

    def plan(self, values: Values, tokens: Tokens) -> BeitAttentionPlan:
        """The sizes for one architecture."""
        return BeitAttentionPlan(**self.sizes(values, tokens), grid=tokens.grid)


@MIXERS.register("beit_attention")
def _beit_attention(settings: Settings, context: StageContext) -> BeitAttention:
    if len(context.patch_sizes) > 1:
        raise SpaceError(
            f"space.patch_sizes={list(context.patch_sizes)}: mixer beit_attention has a table for "
            f"one grid of patches; give one size"
        )
    stem = Settings(context.config.get("stem") or {}, "space.stem")
    head = Settings(context.config.get("head") or {}, "space.head")
    others = stem.integer("registers", 0, minimum=0) + head.flag("distillation", False)
    if others or not stem.flag("class_token", True):
        raise SpaceError(
            f"{settings.path}.kind=beit_attention needs a class token and no other token in front "
            f"of the patches; set space.stem.class_token=true, space.stem.registers=0 and "
            f"space.head.distillation=false"
        )
    return BeitAttention(**read_attention(settings, context))
