"""An architecture piece by piece, from image to classes: what each is, and what it costs.

Read from its plan; the picture and the table of a report show these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.reports.words.architecture import describe_mixer, describe_mlp
from vitsearch.spaces import Architecture, BlockPlan, Cost, SearchSpace
from vitsearch.spaces.parts import (
    AttentionPlan,
    GlitMixerPlan,
    ReductionPlan,
    RelativeAttentionPlan,
    VitasAttentionPlan,
)
from vitsearch.spaces.plan import PiecePlan, Plan

_FREE = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of a mixer's channels.

    Attributes:
        kind: `head`, `local`, or `other` for the mixer of somebody's own.
        channels: How many.
        text: Fits into it.
    """

    kind: str
    channels: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One piece of a network.

    Attributes:
        kind: `stem`, `transition`, `stage`, `block`, `left out` or `head`.
        name: What people call it.
        place: Name of the slot in the space, whose weights it has; empty for others than blocks.
        text: The piece in words, few enough for a picture; of a block the mixer.
        words: The same of a block, in full.
        segments: A block's mixer.
        hidden: Channels of a block's MLP; `None` if it has none.
        hidden_text: The same in words.
        mixer_cost: Of a block's mixer.
        cost: Of the whole piece.
    """

    kind: str
    name: str
    text: str
    place: str = ""
    words: str = ""
    segments: tuple[Segment, ...] = ()
    hidden: int | None = None
    hidden_text: str = ""
    mixer_cost: Cost = _FREE
    cost: Cost = _FREE


def architecture_rows(
    space: SearchSpace, architecture: Architecture, num_classes: int | None
) -> list[Row]:
    """The rows of a network with a classifier of so many classes; `None` leaves it out.

    Raises:
        SpaceError: The architecture is not legal in this space.
    """
    plan = space.plan(architecture)
    rows = [_stem(plan)]
    number = 1
    for index, stage in enumerate(plan.stages):
        if stage.transition is not None:
            rows.append(_transition(stage.transition))
        grid = "{} x {}".format(*stage.grid)
        several = len(plan.stages) > 1
        name = f"stage {index + 1}" if several else "blocks"
        rows.append(Row(kind="stage", name=name, text=f"{grid} tokens, width {stage.embed_dim}"))
        blocks = {block.slot: block for block in stage.blocks}
        missing: list[int] = []
        for slot in range(space.stages[index].num_blocks):
            if slot not in blocks:
                missing.append(slot)
                continue
            rows += _left_out(space, index, missing)
            missing = []
            place = space.stages[index].block_prefix(slot)
            rows.append(_block(blocks[slot], number, place))
            number += 1
        rows += _left_out(space, index, missing)
    return [*rows, _head(plan, num_classes)]


def _stem(plan: Plan) -> Row:
    rows, columns = plan.stages[0].grid
    patch = plan.image_size // rows
    conv = "conv, " if hasattr(plan.stem, "mid_chans") else ""
    text = f"{conv}patches of {patch} px: {rows} x {columns} tokens"
    return Row(kind="stem", name="stem", text=text, cost=plan.stem.cost())


def _transition(piece: PiecePlan) -> Row:
    text = type(piece).__name__.removesuffix("Plan")
    if isinstance(piece, ReductionPlan):
        text = (
            f"{piece.in_grid[0]} x {piece.in_grid[1]} to {piece.grid[0]} x {piece.grid[1]} tokens, "
            f"width {piece.in_dim} to {piece.embed_dim}"
        )
    return Row(kind="transition", name="reduce", text=text, cost=piece.cost())


def _block(block: BlockPlan, number: int, place: str) -> Row:
    return Row(
        kind="block",
        name=f"block {number}",
        place=place,
        text=describe_mixer(block.mixer, short=True),
        words=describe_mixer(block.mixer),
        segments=_segments(block.mixer),
        hidden=getattr(block.mlp, "hidden_dim", None),
        hidden_text=describe_mlp(block),
        mixer_cost=block.mixer.cost(),
        cost=block.cost(),
    )


def _segments(mixer: PiecePlan) -> tuple[Segment, ...]:
    if isinstance(mixer, AttentionPlan | RelativeAttentionPlan | VitasAttentionPlan):
        return (Segment(kind="head", channels=mixer.head_dim),) * mixer.num_heads
    if not isinstance(mixer, GlitMixerPlan):
        return (Segment(kind="other", channels=mixer.embed_dim),)
    width = mixer.global_dim // mixer.num_heads if mixer.num_heads else 0
    heads = (Segment(kind="head", channels=width),) * mixer.num_heads
    if not mixer.local_dim:
        return heads
    return (*heads, Segment(kind="local", channels=mixer.local_dim, text=f"k {mixer.kernel_size}"))


def _left_out(space: SearchSpace, index: int, slots: list[int]) -> list[Row]:
    """Slots without a block, side by side."""
    if not slots:
        return []
    prefix = space.stages[index].prefix
    first, last = slots[0], slots[-1]
    which = f"{prefix}.blocks.{first}" if first == last else f"{prefix}.blocks.{first}-{last}"
    count = "1 block" if first == last else f"{len(slots)} blocks"
    return [Row(kind="left out", name="", place=which, text=f"{count} left out")]


def _head(plan: Plan, num_classes: int | None) -> Row:
    pooled = "class token" if plan.head.pool == "token" else "mean of the patch tokens"
    classes = "" if num_classes is None else f", {num_classes} classes"
    cost = plan.head.cost(num_classes or 0)
    return Row(kind="head", name="head", text=f"{pooled}{classes}", cost=cost)
