"""A stage of a space: a run of block slots at one width; it makes block choices and block plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.parts.base import (
    MIXERS,
    MLPS,
    BlockPart,
    StageContext,
    TokenContext,
    Values,
)
from vitsearch.spaces.plan import BlockPlan
from vitsearch.spaces.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage's parts.

    Attributes:
        index: From 0.
        num_blocks: Slots.
        embed_dims: Options for C.
        norm_eps: Of the blocks' LayerNorms.
        mixer: What mixes tokens.
        mlp: What mixes channels.
    """

    index: int
    num_blocks: int
    embed_dims: tuple[int, ...]
    norm_eps: float
    mixer: BlockPart
    mlp: BlockPart

    @property
    def prefix(self) -> str:
        """What the stage's choices are named below."""
        return f"stages.{self.index}"

    def own_choices(self) -> tuple[Choice, ...]:
        """The choices that the whole stage shares: `embed_dim`."""
        return (Choice(name=f"{self.prefix}.embed_dim", options=self.embed_dims),)

    def block_prefix(self, slot: int) -> str:
        """What a slot's choices are named below."""
        return f"{self.prefix}.blocks.{slot}"

    def block_choices(self, slot: int) -> tuple[Choice, ...]:
        """The choices of one slot."""
        prefix = self.block_prefix(slot)
        return tuple(choice.under(prefix) for choice in self._part_choices())

    def relative(self, slot: int, values: Values) -> Values:
        """The values of one slot's choices, by their short names."""
        start = len(self.block_prefix(slot)) + 1
        names = (f"{self.block_prefix(slot)}.{c.name}" for c in self._part_choices())
        return {name[start:]: values[name] for name in names}

    def _part_choices(self) -> Iterable[Choice]:
        return (*self.mixer.choices(), *self.mlp.choices())

    def block_plan(self, slot: int, values: Values, tokens: TokenContext) -> BlockPlan:
        """The sizes of one slot, from the values of all choices."""
        own = self.relative(slot, values)
        return BlockPlan(
            slot=slot,
            embed_dim=tokens.embed_dim,
            norm_eps=self.norm_eps,
            mixer=self.mixer.plan(own, tokens),
            mlp=self.mlp.plan(own, tokens),
        )


def build_stages(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages that a space's configuration describes.

    Raises:
        SpaceError: A setting is missing, unknown or out of range.
    """
    count = Settings(settings, "space").integer("num_stages", 1)
    stages = []
    for index in range(count):
        own = Settings(settings, "space", stage=index, num_stages=count)
        embed_dims = own.integers("embed_dims")
        context = StageContext(index=index, num_stages=count, embed_dims=embed_dims)
        stages.append(
            Stage(
                index=index,
                num_blocks=own.integer("num_blocks"),
                embed_dims=embed_dims,
                norm_eps=own.number("norm_eps", 1e-6),
                mixer=MIXERS.build(settings.get("mixer"), context),
                mlp=MLPS.build(settings.get("mlp"), context),
            )
        )
    widths = [stage.embed_dims for stage in stages]
    if count > 1 and any(width != widths[0] or len(width) > 1 for width in widths):
        raise SpaceError(
            f"space.embed_dims={[list(width) for width in widths]}: stages follow each other "
            f"without a transition, so all must have one and the same embed_dim"
        )
    return tuple(stages)
