"""What a body is: the part of a space that says which nodes there are and what they read."""

from __future__ import annotations

from typing import Protocol

from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.flow import StageFlow
from vitsearch.spaces.parts.base import HeadPart, StemPart, Values
from vitsearch.spaces.plan import Plan


class Body(Protocol):
    """A stem, runs of blocks and a head, and how they are wired.

    Its choices fall in two: the shared ones, which are few, and those of block slots, which depend
    on little else once the shared ones are fixed.

    Attributes:
        stem: What sees the image.
        stages: Runs of block slots, in order.
        head: What answers.
    """

    stem: StemPart
    stages: tuple[Stage, ...]
    head: HeadPart

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all nodes that there can be, in an order in which they can be computed."""

    def shared_choices(self) -> tuple[Choice, ...]:
        """Those of everything but the blocks, in dependency order."""

    def check(self, values: Values) -> None:
        """Refuse values of the shared choices under which sizes do not fit.

        Raises:
            SpaceError: Which, and what would fit.
        """

    def flows(self, values: Values) -> tuple[StageFlow, ...]:
        """What flows in each stage, from the values of the shared choices."""

    def plan(self, values: Values) -> Plan:
        """All nodes of an architecture, from the values of all choices."""

    def frame(self, values: Values) -> Plan:
        """The plan without its blocks, from the values of the shared choices."""
