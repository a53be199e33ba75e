"""A transformation as decisions: one question after another, the next depends on the answers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from vitsearch.spaces import Architecture
from vitsearch.spaces.parts.base import Values


@dataclass(frozen=True, slots=True)
class Decision:
    """One question.

    Attributes:
        node: Whose choices are decided: `stages.0` for those that a stage shares,
            `stages.0.blocks.3` for those of a block of the given architecture.
        options: Values of the active choices, by their names below the node.
        valid: The positions of the options that may be taken, ascending; two at least.
        stay: The position of the option that changes nothing; `None` if there is none.
    """

    node: str
    options: Sequence[Values]
    valid: tuple[int, ...]
    stay: int | None


Walk = Generator[Decision, int, Architecture]
"""Yields decisions, is sent the position of the option taken, returns the architecture."""


def outcomes(walk: Walk, answers: Sequence[int]) -> Architecture | Decision:
    """What a walk comes to after some answers: its end, or the next decision."""
    try:
        decision = next(walk)
        for answer in answers:
            assert answer in decision.valid, (answer, decision)
            decision = walk.send(answer)
    except StopIteration as end:
        found: Architecture = end.value
        return found
    return decision
