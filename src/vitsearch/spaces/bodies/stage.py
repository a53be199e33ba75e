"""A stage of a space: a run of block slots at one width; it makes block choices and block plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import comb
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.bodies.pieces import PieceTable
from vitsearch.spaces.choice import Choice, Condition
from vitsearch.spaces.flow import Seen
from vitsearch.spaces.parts.base import (
    BLOCKS,
    TRANSITIONS,
    BlockKind,
    StageContext,
    TransitionPart,
    Values,
)
from vitsearch.spaces.parts.tokens import FewerTokens, fewer_tokens
from vitsearch.spaces.plan import PiecePlan
from vitsearch.spaces.settings import MOST_BLOCKS, MOST_STAGES, Settings


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage's parts.

    Blocks can be left out in two ways. `depths`: the last ones go, so that a stage is as deep as it
    says; networks with an identity anywhere are the same network here, their identities shifted to
    the end (ViTAS, section 3). `skippable`: slots of their own that may be empty; the others keep
    their weights (ViT-ResNAS, section 3.4).

    Attributes:
        index: From 0.
        num_blocks: Slots.
        embed_dims: Options for C.
        depths: Options for the number of blocks; empty if all are there.
        depth_weights: Sampling frequency of each; `None` for uniform.
        skippable: Slots that may be empty, from 0.
        transition: What leads here from the stage before; `None` in the first.
        block: The kind of its blocks.
    """

    index: int
    num_blocks: int
    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    depth_weights: tuple[float, ...] | None
    skippable: tuple[int, ...]
    transition: TransitionPart | None
    block: BlockKind

    @cached_property
    def pieces(self) -> PieceTable:
        """What its blocks are made of, planned and costed once."""
        return PieceTable(self.block)

    @cached_property
    def _transition_names(self) -> tuple[tuple[str, str], ...]:
        """The short and the full names of the transition's choices."""
        own = () if self.transition is None else self.transition.choices()
        return tuple((choice.name, f"{self.prefix}.transition.{choice.name}") for choice in own)

    @cached_property
    def _block_names(self) -> tuple[dict[str, tuple[str, ...]], ...]:
        """For each slot the full names of the choices of its pieces, by role."""
        return tuple(
            {
                role: tuple(f"{self.block_prefix(slot)}.{name}" for name in own)
                for role, own in self.pieces.names.items()
            }
            for slot in range(self.num_blocks)
        )

    @cached_property
    def prefix(self) -> str:
        """What the stage's choices are named below."""
        return f"stages.{self.index}"

    def own_choices(self) -> tuple[Choice, ...]:
        """The choices that the whole stage shares: the transition's, `embed_dim`, `depth`."""
        own = [Choice(name=f"{self.prefix}.embed_dim", options=self.embed_dims)]
        if self.transition is not None:
            below = f"{self.prefix}.transition"
            own = [choice.under(below) for choice in self.transition.choices()] + own
        if self.depths:
            own.append(
                Choice(name=f"{self.prefix}.depth", options=self.depths, weights=self.depth_weights)
            )
        kind = self.block.stage_choices(self.num_blocks, self.depths)
        return (*own, *(choice.under(self.prefix) for choice in kind))

    @property
    def token_choices(self) -> tuple[str, ...]:
        """The names of its choices of how many tokens go on."""
        if not isinstance(self.block, FewerTokens):
            return ()
        own = self.block.way.choices(self.num_blocks, self.depths)
        return tuple(f"{self.prefix}.{choice.name}" for choice in own)

    def own_values(self, values: Values) -> Values:
        """The values of the choices that the whole stage shares, by names relative to it."""
        return {name: values[full] for name, full in self._own_names}

    @cached_property
    def _own_names(self) -> tuple[tuple[str, str], ...]:
        start = len(self.prefix) + 1
        return tuple((choice.name[start:], choice.name) for choice in self.own_choices())

    def block_prefix(self, slot: int) -> str:
        """What a slot's choices are named below."""
        return f"{self.prefix}.blocks.{slot}"

    def keep_name(self, slot: int) -> str | None:
        """The name of the choice whether a slot has a block; `None` if that is no choice."""
        return f"{self.block_prefix(slot)}.keep" if slot in self.skippable else None

    def block_choices(self, slot: int) -> tuple[Choice, ...]:
        """The choices of one slot: whether it is there, and what its parts choose."""
        prefix, keep = self.block_prefix(slot), self.keep_name(slot)
        present: list[Condition] = []
        own: list[Choice] = []
        if self.depths and min(self.depths) <= slot:
            deeper = tuple(depth for depth in self.depths if depth > slot)
            present.append(Condition(f"{self.prefix}.depth", deeper))
        if keep is not None:
            # Side by side, the second is skipped whenever the first is, or equal networks differ.
            before = self.keep_name(slot - 1)
            chain = () if before is None else (Condition(before, (True,)),)
            own.append(Choice(name=keep, options=(False, True), active_when=chain, otherwise=False))
            present.append(Condition(keep, (True,)))
        return (*own, *(choice.under(prefix, also=present) for choice in self.block.choices()))

    def within_depth(self, slot: int, values: Values) -> bool:
        """Whether the stage is deep enough for a slot."""
        return not self.depths or slot < int(values[f"{self.prefix}.depth"] or 0)

    def is_present(self, slot: int, values: Values) -> bool:
        """Whether a slot has a block, from the values of all choices."""
        keep = self.keep_name(slot)
        return self.within_depth(slot, values) and (keep is None or bool(values[keep]))

    def block_plan(self, slot: int, values: Values, seen: Seen) -> PiecePlan:
        """The sizes of one slot that has a block, from the values of all choices."""
        taken = {
            role: tuple([values[name] for name in names])
            for role, names in self._block_names[slot].items()
        }
        if self.pieces.followers:
            start = self.block_prefix(slot)
            names = {n for own in self.pieces.followers.values() for n in own}
            taken |= self.pieces.following({name: values[f"{start}.{name}"] for name in names})
        return self.pieces.block(taken, seen)

    def transition_values(self, values: Values) -> Values:
        """The values of the transition's choices, by their short names."""
        return {name: values[full] for name, full in self._transition_names}


def build_stages(
    settings: Mapping[str, Any], patch_sizes: tuple[int, ...] = ()
) -> tuple[Stage, ...]:
    """The stages that a space's configuration describes.

    Raises:
        SpaceError: A setting is missing, unknown or out of range, or stages do not fit together.
    """
    count = Settings(settings, "space").integer("num_stages", 1, maximum=MOST_STAGES)
    stages = []
    for index in range(count):
        own = Settings(settings, "space", stage=index, num_stages=count)
        context = StageContext(
            index=index,
            num_stages=count,
            embed_dims=own.integers("embed_dims"),
            patch_sizes=patch_sizes,
            config=settings,
        )
        num_blocks = own.integer("num_blocks", maximum=MOST_BLOCKS)
        depths, depth_weights = _depths(own, num_blocks)
        skippable = own.positions("skippable", num_blocks)
        if depths and skippable:
            raise SpaceError(
                "space.skippable and space.depths (or identity_probability) both leave out blocks; "
                "a stage takes one of the two"
            )
        transition = settings.get("transition") or {"kind": "none"}
        block: BlockKind = BLOCKS.build(settings.get("block") or {"kind": "transformer"}, context)
        if not isinstance(block, BlockKind):
            raise SpaceError(
                "space.block.kind=searching leads from map to map between branches; it needs "
                "space.body.kind=high_resolution"
            )
        _check_opening(block, depths, skippable)
        block = fewer_tokens(settings.get("tokens"), block, context, skippable=bool(skippable))
        stages.append(
            Stage(
                index=index,
                num_blocks=num_blocks,
                embed_dims=context.embed_dims,
                depths=depths,
                depth_weights=depth_weights,
                skippable=skippable,
                transition=TRANSITIONS.build(transition, context) if index else None,
                block=block,
            )
        )
    _check_widths(stages)
    return tuple(stages)


def _depths(
    settings: Settings, num_blocks: int
) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
    if not settings.has("identity_probability"):
        depths = settings.integers("depths", minimum=0) if settings.has("depths") else ()
        if depths and depths[-1] != num_blocks:
            raise SpaceError(
                f"space.depths={list(depths)}: the deepest must have all {num_blocks} blocks "
                f"(space.num_blocks)"
            )
        return depths, None
    if settings.has("depths"):
        raise SpaceError("space takes either depths or identity_probability, one of the two")
    fewest = settings.integer("min_depth", minimum=0) if settings.has("min_depth") else 0
    # Each slot is an identity with this probability; how many are left is binomial.
    identity = settings.number("identity_probability")
    if identity >= 1:
        raise SpaceError(f"space.identity_probability={identity} must be a number below 1")
    depths = tuple(range(min(fewest, num_blocks), num_blocks + 1))
    weights = tuple(
        comb(num_blocks, depth) * (1 - identity) ** depth * identity ** (num_blocks - depth)
        for depth in depths
    )
    return depths, weights


def _check_opening(block: BlockKind, depths: tuple[int, ...], skippable: tuple[int, ...]) -> None:
    """Refuse to leave out a first block that leads to its stage."""
    if not block.opens:
        return
    if depths and depths[0] == 0:
        raise SpaceError(
            f"space.depths={list(depths)}: the first block leads to the stage, so a depth is 1 or "
            f"more"
        )
    if 0 in skippable:
        raise SpaceError(
            f"space.skippable={list(skippable)}: the first block leads to the stage, "
            f"so it cannot be skipped"
        )


def _check_widths(stages: Sequence[Stage]) -> None:
    widths = [list(stage.embed_dims) for stage in stages]
    for before, stage in pairwise(stages):
        if stage.block.opens:
            if stage.transition is not None:
                raise SpaceError(
                    f"the blocks of stage {stage.index} lead there themselves; set "
                    f"space/transition=none"
                )
        elif stage.transition is None:
            if before.embed_dims != stage.embed_dims or len(stage.embed_dims) > 1:
                raise SpaceError(
                    f"space.embed_dims={widths}: stages follow each other without a transition, "
                    f"so all must have one and the same embed_dim; add space/transition=reduction"
                )
        elif min(stage.embed_dims) < max(before.embed_dims):
            raise SpaceError(
                f"space.embed_dims={widths}: stage {stage.index} could be narrower "
                f"({min(stage.embed_dims)}) than stage {before.index} ({max(before.embed_dims)}); "
                f"a transition cannot take channels away"
            )
