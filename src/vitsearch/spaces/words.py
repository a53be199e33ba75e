"""A plan describes itself to people: in words, and as runs of channels for pictures.

A plan may have the methods `words(short=...)` and `segments()`; one without is shown by the name of
its class, as one run of its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitsearch.spaces.flow import Shape, Tokens, sides
from vitsearch.spaces.plan import PiecePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of a piece's channels.

    Attributes:
        kind: `head`, `local`, or `other` for a piece of somebody's own.
        channels: How many.
        text: Fits into it.
    """

    kind: str
    channels: int
    text: str = ""


def words_of(plan: object, *, short: bool = False) -> str:
    """A piece in words; `short` where room is scarce."""
    describe = getattr(plan, "words", None)
    if describe is None:
        return type(plan).__name__.removesuffix("Plan")
    return str(describe(short=short))


def segments_of(plan: PiecePlan) -> tuple[Segment, ...]:
    """The channels of a piece as runs."""
    divide = getattr(plan, "segments", None)
    if divide is None:
        return (Segment(kind="other", channels=plan.embed_dim),)
    found: tuple[Segment, ...] = divide()
    return found


def heads_in_words(count: int, head_dim: int, kind: str = "") -> str:
    """So many attention heads of so many channels."""
    return f"{count} {kind}{'head' if count == 1 else 'heads'} of {head_dim}"


def shape_in_words(shape: Shape) -> str:
    """Rows and columns; how many where tokens have no places."""
    if isinstance(shape, Tokens) and not shape.placed:
        return f"{shape.num_tokens} tokens"
    return f"{grid_in_words(shape.grid)} {shape.unit}"


def pixels_in_words(image_size: int | Sequence[int]) -> str:
    """The size of images: `28 px`, `512 x 1024 px`."""
    if isinstance(image_size, int):
        return f"{image_size} px"
    return f"{grid_in_words(sides(image_size))} px"


def grid_in_words(grid: tuple[int, ...]) -> str:
    """Rows and columns; also channels, height and width."""
    return " x ".join(map(str, grid))
