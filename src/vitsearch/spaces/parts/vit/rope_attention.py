"""Mixer `rope_attention`: attention whose queries and keys are rotated by their positions.

Sources: RoFormer (2021), section 3.2; for images EVA-02 (2023), section 2.1, Rotary Position
Embedding for Vision Transformer (ECCV 2024), section 3, and DINOv3 (2025), section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.parts.vit.attention import VitAttention, VitAttentionPlan, read_attention
from vitsearch.spaces.settings import Settings

ROPES = ("cat", "dinov3", "mixed")
INDEXINGS = ("ij", "xy")
CHANNELS_OF_A_PAIR = 2
CHANNELS_OF_A_BAND = 4
"""Two coordinates, and a pair of channels for the rotation by each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeKind:
    """How positions become angles of rotation.

    Attributes:
        kind: As timm names it. `cat`: row and column of a patch, times fixed frequencies. `dinov3`:
            the same with coordinates from -1 to 1 over the image. `mixed`: frequencies are learned,
            for each block and head, and both coordinates add to each angle.
        temperature: Base of the fixed frequencies.
        offset: Added to rows and columns.
        indexing: Which coordinate comes first: `ij` the row, `xy` the column.
        half: Whether a pair is made of channels j and j + D/2; if not, of 2j and 2j + 1.
        reference_grid: Rows and columns of the grid to which coordinates are scaled (`cat`), such
            as that of pretraining; `None` for the grid at hand.
        dynamic: Whether angles are computed in the precision of the network, as in networks of timm
            that take images of any size; if not, in float32.
    """

    kind: str
    temperature: float
    offset: float
    indexing: str
    half: bool
    reference_grid: tuple[int, int] | None
    dynamic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeAttentionPlan(VitAttentionPlan):
    """Sizes of self-attention on (B, N, C) with rotated queries and keys.

    Attributes:
        grid: Rows and columns of patches, whose queries and keys are rotated.
        num_prefix_tokens: Tokens in front of them, which are not.
        rope: The rotation.
        full_qk_dim: Channels of a head with all pairs, where their number is a choice: every head
            then says which pairs it has. `None` where heads have all pairs, in their order.
    """

    grid: tuple[int, int]
    num_prefix_tokens: int
    rope: RopeKind
    full_qk_dim: int | None

    @property
    def num_pairs(self) -> int:
        """Pairs of channels of a head's queries and keys, each rotated by an angle of its own."""
        return self.qk_dim // 2

    def cost(self) -> Cost:
        """As of attention without positions, and frequencies that are learned."""
        learned = self.num_heads * self.qk_dim if self.rope.kind == "mixed" else 0
        return VitAttentionPlan.cost(self) + Cost(0, learned)


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeAttention(VitAttention):
    """Self-attention with the choices `num_heads`, `qk_dim` (in pairs of channels) and `v_dim`.

    Attributes:
        rope: The rotation.
    """

    rope: RopeKind

    needs_places: ClassVar[bool] = True

    def plan(self, values: Values, tokens: Tokens) -> RopeAttentionPlan:
        """The sizes for one architecture."""
        return RopeAttentionPlan(
            **self.sizes(values, tokens),
            grid=tokens.grid,
            num_prefix_tokens=tokens.num_prefix_tokens,
            rope=self.rope,
            full_qk_dim=max(self.qk_dims) if len(self.qk_dims) > 1 else None,
        )


@MIXERS.register("rope_attention")
def _rope_attention(settings: Settings, context: StageContext) -> RopeAttention:
    part = RopeAttention(**read_attention(settings, context), rope=_read_rope(settings))
    if max(part.qk_dims) % CHANNELS_OF_A_BAND:
        raise SpaceError(
            f"{settings.path}.qk_dims={list(part.qk_dims)}: queries and keys that are rotated "
            f"(rope) have a multiple of {CHANNELS_OF_A_BAND} channels, all pairs taken together"
        )
    if any(width % CHANNELS_OF_A_PAIR for width in part.qk_dims):
        raise SpaceError(
            f"{settings.path}.qk_dims={list(part.qk_dims)}: channels of queries and keys that are "
            f"rotated (rope) go in pairs; give even numbers"
        )
    return part


def _read_rope(settings: Settings) -> RopeKind:
    """The section `rope` of the mixer.

    Raises:
        SpaceError: It is absent, or a setting is not legal.
    """
    section = settings.section("rope")
    if not isinstance(section, Mapping):
        raise SpaceError(
            f"{settings.path}.rope={section!r} must be a section with kind ({', '.join(ROPES)})"
        )
    own = Settings(section, f"{settings.path}.rope")
    kind = own.word("kind", ROPES)
    half = own.flag("half", False)
    if kind == "mixed" and half:
        raise SpaceError(f"{own.path}.half=true: rope mixed rotates neighbouring channels")
    rope = RopeKind(
        kind=kind,
        temperature=own.number("temperature", 10000.0),
        offset=own.number("offset") if own.has("offset") else 0.0,
        indexing=own.word("indexing", INDEXINGS, "ij"),
        half=half,
        reference_grid=_read_grid(own),
        dynamic=own.flag("dynamic", False),
    )
    own.finish()
    return rope


def _read_grid(own: Settings) -> tuple[int, int] | None:
    grid = own.section("reference_grid")
    if grid is None:
        return None
    is_pair = isinstance(grid, list | tuple) and len(grid) == 2
    if not is_pair or not all(type(side) is int and side > 0 for side in grid):
        raise SpaceError(f"{own.path}.reference_grid={grid!r} must be rows and columns")
    return grid[0], grid[1]
