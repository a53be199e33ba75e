"""An architecture piece by piece, from image to classes: what each is, and what it costs.

Read from its plan; the picture and the table of a report show these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.reports.words.architecture import describe_mlp, stage_in_words
from vitsearch.spaces import Architecture, Cost, SearchSpace
from vitsearch.spaces.parts.tokens.steps import tokens_in_words
from vitsearch.spaces.plan import PiecePlan, Plan
from vitsearch.spaces.words import Segment, segments_of, words_of

_FREE = Cost()


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
        several = len(plan.stages) > 1
        name = f"stage {index + 1}" if several else "blocks"
        rows.append(Row(kind="stage", name=name, text=stage_in_words(stage)))
        blocks = dict(zip(stage.slots, stage.blocks, strict=True))
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
    return Row(kind="stem", name="stem", text=words_of(plan.stem), cost=plan.stem.cost())


def _transition(piece: PiecePlan) -> Row:
    return Row(kind="transition", name="reduce", text=words_of(piece), cost=piece.cost())


def _block(block: PiecePlan, number: int, place: str) -> Row:
    """A block's row; one that is no mixer with an MLP is shown as one piece."""
    mixer: PiecePlan = getattr(block, "mixer", block)
    mlp: PiecePlan | None = getattr(block, "mlp", None)
    step = getattr(block, "tokens", None)
    return Row(
        kind="block",
        name=f"block {number}",
        place=place,
        text=words_of(mixer, short=True) + tokens_in_words(step, short=True),
        words=words_of(mixer) + tokens_in_words(step),
        segments=segments_of(mixer),
        hidden=getattr(mlp, "hidden_dim", None),
        hidden_text="" if mlp is None else describe_mlp(mlp, block.embed_dim),
        mixer_cost=mixer.cost(),
        cost=block.cost(),
    )


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
    """The head, with what stands between the last stage and it."""
    classes = "" if num_classes is None else f", {num_classes} classes"
    before = (node.plan.cost() for node in plan.nodes[1:] if node.stage is None)
    cost = sum(before, plan.head.cost(num_classes or 0))
    return Row(kind="head", name="head", text=f"{words_of(plan.head)}{classes}", cost=cost)
