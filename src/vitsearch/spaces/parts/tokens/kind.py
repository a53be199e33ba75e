"""Blocks between whose halves tokens become fewer; around any kind with a mixer and an MLP.

How many tokens go on is a choice of the stage, so what each block sees follows from shared choices.
Behind the last block every patch gets the token that it went into, so what follows sees a token
for each patch, in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Seen, Shape, StageFlow, Tokens
from vitsearch.spaces.parts.base import TOKENS, BlockKind, BlockPart, StageContext, Values
from vitsearch.spaces.parts.tokens.steps import TokenStep
from vitsearch.spaces.plan import PiecePlan


class TokensPart(Protocol):
    """A way of having fewer tokens."""

    def beside(self, mixer: Any) -> TokensPart:
        """The same in blocks with this mixer (the part).

        Raises:
            SpaceError: It does not work there.
        """

    def choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """Choices, named relative to the stage; see `BlockKind.stage_choices`."""

    def steps(self, tokens: Tokens, values: Values, depth: int) -> Sequence[TokenStep | None]:
        """What each block does, in order; `None` for those that see all tokens and change none.

        Args:
            tokens: What comes in.
            values: Of the stage's shared choices, by their names relative to it.
            depth: How many blocks there are.

        Raises:
            SpaceError: There are too few tokens.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTokens:
    """What a block sees whose tokens become, or have become, fewer.

    Attributes:
        before: What its mixer sees.
        after: What its MLP sees.
        step: What happens between them.
    """

    before: Tokens
    after: Tokens
    step: TokenStep

    @property
    def embed_dim(self) -> int:
        """C."""
        return self.before.embed_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class _MixerPlan:
    """A mixer, and what its block does to the tokens behind it."""

    mixer: PiecePlan
    step: TokenStep

    @property
    def embed_dim(self) -> int:
        """C."""
        return self.mixer.embed_dim

    def pieces(self) -> tuple[Any, ...]:
        """Both."""
        return self.mixer, self.step

    def cost(self) -> Cost:
        """Of both."""
        return self.mixer.cost() + self.step.cost()


@dataclass(frozen=True, slots=True)
class _Mixer:
    """A mixer that may be followed by a step."""

    part: BlockPart

    def choices(self) -> tuple[Choice, ...]:
        """The mixer's own."""
        return self.part.choices()

    def plan(self, values: Values, tokens: Tokens | BlockTokens) -> PiecePlan:
        """The sizes for one architecture."""
        if isinstance(tokens, Tokens):
            return self.part.plan(values, tokens)
        mixer = self.part.plan(values, tokens.before)
        return _MixerPlan(mixer=mixer, step=tokens.step.beside(mixer))


@dataclass(frozen=True, slots=True)
class _Mlp:
    """An MLP that may stand behind a step."""

    part: BlockPart

    def choices(self) -> tuple[Choice, ...]:
        """The MLP's own."""
        return self.part.choices()

    def plan(self, values: Values, tokens: Tokens | BlockTokens) -> PiecePlan:
        """The sizes for one architecture."""
        return self.part.plan(values, tokens if isinstance(tokens, Tokens) else tokens.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class FewerTokens(BlockKind):
    """Blocks of another kind, with steps between their halves.

    Attributes:
        block: The kind.
        way: What happens to the tokens.
    """

    block: BlockKind
    way: TokensPart

    @property
    def plain(self) -> BlockKind:
        """The kind that this is made around."""
        return self.block

    def stage_choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """How many tokens go on."""
        own = self.block.stage_choices(num_blocks, depths)
        return (*own, *self.way.choices(num_blocks, depths))

    def stage_flow(self, before: Shape, after: Shape, values: Values, num_blocks: int) -> StageFlow:
        """Block by block: what comes in, and what goes on."""
        assert isinstance(after, Tokens)
        given = values.get("depth")
        depth = num_blocks if given is None else int(given)
        steps = self.way.steps(after, values, depth)
        if all(step is None for step in steps):
            return StageFlow(shape=after, first=after)
        tokens, slots = after, list[tuple[Seen, Shape]]()
        for step in steps:
            if step is None:
                slots.append((tokens, tokens))
                continue
            left = replace(tokens, num_left=step.num_left - tokens.num_prefix_tokens)
            seen = BlockTokens(before=left if step.in_front else tokens, after=left, step=step)
            slots.append((seen, after if step.is_last else left))
            tokens = left
        slots += slots[-1:] * (num_blocks - depth)
        return StageFlow(shape=after, first=slots[0][0], slots=tuple(slots))

    def alike(self, slot: int) -> int:
        """Every block sees another number of tokens."""
        return slot

    def pieces(self) -> Mapping[str, BlockPart]:
        """Those of the kind."""
        own = self.block.pieces()
        return {"mixer": _Mixer(own["mixer"]), "mlp": _Mlp(own["mlp"])}

    def assemble(self, pieces: Mapping[str, PiecePlan], tokens: Any) -> PiecePlan:
        """A block of the kind, with its step."""
        mixer = pieces["mixer"]
        if not isinstance(mixer, _MixerPlan):
            return self.block.assemble(pieces, tokens)
        block: Any = self.block.assemble({**pieces, "mixer": mixer.mixer}, tokens.before)
        reduced: PiecePlan = replace(block, tokens=mixer.step)
        return reduced

    def own_cost(self, tokens: Any) -> Cost:
        """As the kind's."""
        return self.block.own_cost(tokens)


def fewer_tokens(
    section: Any, block: BlockKind, context: StageContext, *, skippable: bool
) -> BlockKind:
    """The kind of block, with what `space.tokens` says of its stage around it.

    Only the last stage can have fewer tokens; one section stands for it alone.

    Raises:
        SpaceError: The stage cannot have fewer tokens; why, and what would help.
    """
    is_list = isinstance(section, list | tuple)
    is_last = context.index == context.num_stages - 1
    if section is None or not (is_list or is_last):
        return block
    way: TokensPart | None = TOKENS.build(section, context)
    if way is None:
        return block
    _check(block, context, is_last=is_last, skippable=skippable)
    return FewerTokens(block=block, way=way.beside(block.pieces()["mixer"]))


def _check(block: BlockKind, context: StageContext, *, is_last: bool, skippable: bool) -> None:
    where = "space.tokens"
    if not is_last:
        raise SpaceError(
            f"{where}: stage {context.index} is followed by another, which needs the tokens in "
            f"their places; only the last stage can have fewer (space.tokens.kind=none for others)"
        )
    pieces = block.pieces()
    if tuple(pieces) != ("mixer", "mlp"):
        raise SpaceError(
            f"{where}: the blocks of stage {context.index} are no mixer and MLP between which "
            f"tokens could become fewer; choose space.block.kind=transformer or vit"
        )
    mixer: Any = pieces["mixer"]
    if getattr(mixer, "needs_places", True):
        raise SpaceError(
            f"{where}: mixer {_mixer_kind(context)} needs the tokens in their places; choose one "
            f"without positions, such as attention or vit_attention, or space.tokens.kind=none"
        )
    if skippable:
        raise SpaceError(
            f"{where}: space.skippable leaves out blocks one by one, so how many tokens a block "
            f"sees would depend on the blocks before it; take space.depths instead"
        )


def _mixer_kind(context: StageContext) -> str:
    section = context.config.get("mixer")
    if isinstance(section, list | tuple):
        section = section[context.index]
    return str(section.get("kind")) if isinstance(section, Mapping) else "of this space"


@TOKENS.register("none")
def _none(settings: Any, context: StageContext) -> None:
    return None
