"""What a transformation changed, in the two levels of its reports: type and size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vitsearch.spaces import Architecture, SearchSpace, Value

Level = Literal["type", "size"]


@dataclass(frozen=True, slots=True)
class Change:
    """One choice that has another value.

    Attributes:
        name: Of the choice.
        level: `type` where other choices depend on it (the kind of a mixer, whether there is a
            block, the depth), `size` elsewhere.
        before: Its value in the given architecture; `None` where it was inactive.
        after: In the other one.
    """

    name: str
    level: Level
    before: Value | None
    after: Value | None


def levels(space: SearchSpace) -> dict[str, Level]:
    """The level of every choice."""
    decides = {c.name for choice in space.choices for c in choice.active_when}
    return {c.name: "type" if c.name in decides else "size" for c in space.choices}


def changes(space: SearchSpace, given: Architecture, other: Architecture) -> Iterator[Change]:
    """The choices that differ, in the order of the space."""
    of = levels(space)
    for choice in space.choices:
        before, after = given.get(choice.name), other.get(choice.name)
        if before != after:
            yield Change(choice.name, of[choice.name], before, after)
