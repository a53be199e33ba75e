"""What a body is: the part of a space that says which nodes there are and what they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost, cost_of, no_cost
from vitsearch.spaces.flow import Shape, StageFlow
from vitsearch.spaces.parts.base import HeadPart, StemPart, Values
from vitsearch.spaces.plan import HeadPlan, Node, Plan, head_cost

Ends = tuple[Shape, ...]
"""What has come out of stages so far, as far as what follows depends on it."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """In place of the plan of a node of which a head needs the shape alone.

    Attributes:
        embed_dim: C.
    """

    embed_dim: int

    def cost(self) -> Cost:
        """Nothing."""
        return Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What the shared choices of a stage fix, after what came before it.

    Attributes:
        nodes: All but the blocks: the stem in front of the first stage, transitions, and behind the
            last stage the head's own.
        flow: What flows in the stage.
        after: What the next stages depend on.
        head: What answers, behind the last stage; `None` behind others.
    """

    nodes: tuple[Node, ...]
    flow: StageFlow
    after: Ends
    head: HeadPlan | None

    def cost(self, num_classes: int) -> Cost:
        """All costs of these nodes, and of the head with outputs for so many classes."""
        start = no_cost() if self.head is None else head_cost(self.head, num_classes)
        return sum((cost_of(node.plan) for node in self.nodes), start)


class Body(Protocol):
    """A stem, runs of blocks and a head, and how they are wired.

    Its choices fall in two: the shared ones, stage by stage, and those of block slots, which depend
    on little else once those of their stage are fixed. A stage knows what came before it by shapes
    alone, so nothing that is asked of a whole space needs the product over stages.

    Attributes:
        stem: What sees the image.
        stages: Runs of block slots, in order.
        head: What answers.
        takes_any_shape: Whether images need not be square.
    """

    stem: StemPart
    stages: tuple[Stage, ...]
    head: HeadPart
    takes_any_shape: ClassVar[bool]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all nodes that there can be, in an order in which they can be computed."""

    def shared_choices(self) -> tuple[tuple[Choice, ...], ...]:
        """Those of everything but the blocks, stage by stage, each in dependency order.

        The stem's are the first stage's, the head's the last one's; no choice depends on one of
        another stage.
        """

    def segment(self, index: int, before: Ends, values: Values) -> Segment:
        """What a stage is.

        Args:
            index: Which stage, from 0.
            before: `after` of the stage before; nothing for the first.
            values: Of the stage's shared choices.

        Raises:
            SpaceError: Sizes do not fit; which, and what would fit.
        """

    def plan(self, values: Values) -> Plan:
        """All nodes of an architecture, from the values of all choices."""
