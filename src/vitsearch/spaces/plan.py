"""The plan: an architecture as typed sizes. Forward, extraction, cost and pictures read only this.

A plan is a list of named nodes in the order in which they are computed, and a head that answers:

    name                 plan             reads                shape
    stem                 PatchStemPlan    image                Tokens
    stages.0.blocks.0    BlockPlan        stem                 Tokens
    stages.0.blocks.2    BlockPlan        stages.0.blocks.0    Tokens
    norm                 NormPlan         stages.0.blocks.2    Tokens
    head                 ClassifierPlan   norm

The name is the path of a node's weights in a `state_dict`. Each part of a space describes its own
node (`PatchStemPlan`, `BlockPlan`, `ReductionPlan`, ...), beside the part; this file has the frame
that holds them, and the catalogue of every plan that a supernet serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from vitsearch.spaces.cost import Cost, cost_of, with_further
from vitsearch.spaces.flow import ImageSize, Shape, StageFlow, sides

IMAGE = "image"
"""What the first node reads."""


@runtime_checkable
class PiecePlan(Protocol):
    """Anything with sizes and a cost: the plan of a stem, a block, a mixer, a transition."""

    @property
    def embed_dim(self) -> int:
        """Channels of what comes out, C."""

    def cost(self) -> Cost:
        """MACs of one image, and parameters."""


class HeadPlan(Protocol):
    """The plan of what answers."""

    @property
    def embed_dim(self) -> int:
        """Channels that it sees, C."""

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""

    def cost(self, num_classes: int) -> Cost:
        """With outputs for so many classes; 0 mean no classifier."""


def head_cost(head: HeadPlan, num_classes: int) -> Cost:
    """All costs of what answers, with outputs for so many classes."""
    return with_further(head.cost(num_classes), head, num_classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a network.

    Attributes:
        name: The path of its weights in a `state_dict` of the supernet.
        plan: Its sizes.
        reads: The names of the nodes whose outputs it takes, or `image`.
        shape: What comes out.
        stage: Which stage it belongs to; `None` outside of stages.
        slot: Which block of the stage it is; `None` for what is no block.
    """

    name: str
    plan: PiecePlan
    reads: tuple[str, ...]
    shape: Shape
    stage: int | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """The nodes of one stage together: a run of blocks at one width and one grid.

    Attributes:
        shape: What flows in it.
        transition: What leads here from the stage before; `None` without one.
        blocks: In order; skipped slots are absent.
        slots: Which block of the supernet's stage lends its weights to each.
        branches: What flows in each branch, from fine to coarse, where there are several
            resolutions; else empty.
    """

    shape: Shape
    transition: PiecePlan | None
    blocks: tuple[PiecePlan, ...]
    slots: tuple[int, ...]
    branches: tuple[Shape, ...] = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """C of each branch; one number where there are none."""
        return tuple(shape.embed_dim for shape in self.branches) or (self.embed_dim,)

    @property
    def embed_dim(self) -> int:
        """C."""
        return self.shape.embed_dim

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.shape.grid

    @property
    def unit(self) -> str:
        """What the grid is made of: `tokens` or `pixels`."""
        return self.shape.unit


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole network in sizes.

    Attributes:
        image_size: Of the input, pixels: the side of a square, or height and width.
        in_chans: Channels of the input.
        nodes: From the image to the features that the head reads, in order of computation.
        stage_flows: What flows in each stage.
        head: Features to answers.
        head_reads: The names of the nodes whose outputs the head takes.
        feature_names: The nodes whose outputs are the network's features, from fine to coarse;
            empty where they are those of blocks or of stages.
        last_reads: For each node, what nothing reads after it: outputs that can be forgotten.
    """

    image_size: ImageSize
    in_chans: int
    nodes: tuple[Node, ...]
    stage_flows: tuple[StageFlow, ...]
    head: HeadPlan
    head_reads: tuple[str, ...]
    feature_names: tuple[str, ...] = ()
    last_reads: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        return (self.in_chans, *sides(self.image_size))

    @property
    def stem(self) -> PiecePlan:
        """The plan of the first node."""
        return self.nodes[0].plan

    @property
    def stage_shapes(self) -> tuple[Shape, ...]:
        """What comes out of each stage."""
        return tuple(flow.shape for flow in self.stage_flows)

    @cached_property
    def stages(self) -> tuple[StagePlan, ...]:
        """The nodes of each stage together."""
        return tuple(self._stage(index, shape) for index, shape in enumerate(self.stage_shapes))

    @property
    def token_steps(self) -> dict[str, Any]:
        """What blocks do to have fewer tokens, by the names of their nodes, in order.

        See `vitsearch.spaces.parts.tokens.steps`; blocks that do nothing are left out.
        """
        steps = {node.name: getattr(node.plan, "tokens", None) for node in self.nodes}
        return {name: step for name, step in steps.items() if step is not None}

    def _stage(self, index: int, shape: Shape) -> StagePlan:
        own = [node for node in self.nodes if node.stage == index]
        blocks = [(node.plan, node.slot) for node in own if node.slot is not None]
        return StagePlan(
            shape=shape,
            transition=next((node.plan for node in own if node.slot is None), None),
            blocks=tuple(plan for plan, _ in blocks),
            slots=tuple(slot for _, slot in blocks),
            branches=self._branches(own) if self.feature_names else (),
        )

    @staticmethod
    def _branches(nodes: Sequence[Node]) -> tuple[Shape, ...]:
        """The last shape of each size, from fine to coarse."""
        found = {node.shape.grid: node.shape for node in nodes}
        return tuple(found[grid] for grid in sorted(found, reverse=True))

    def __post_init__(self) -> None:
        """Find out when outputs can be forgotten; compilers see a plain tuple."""
        left = set(self.head_reads)
        found = []
        for node in reversed(self.nodes):
            found.append(tuple(name for name in node.reads if name not in left))
            left.update(node.reads)
        object.__setattr__(self, "last_reads", tuple(found[::-1]))

    def until(self, count: int) -> Plan:
        """The first nodes alone: what the head would read is the output of the last of them."""
        nodes = self.nodes[:count]
        reads = (nodes[-1].name,) if nodes else (IMAGE,)
        return replace(self, nodes=nodes, head_reads=reads)

    def cost(self, num_classes: int = 1000) -> Cost:
        """The network's closed-form cost with a head for `num_classes`."""
        head = head_cost(self.head, num_classes)
        return sum((cost_of(node.plan) for node in self.nodes), head)

    def renumbered(self) -> Plan:
        """The same sizes with the blocks of each stage counted from 0: the extracted network's."""
        names: dict[str, str] = {IMAGE: IMAGE}
        nodes = []
        counts: dict[int | None, int] = {}
        for node in self.nodes:
            own = node
            position = counts.get(node.stage, 0)
            if node.slot is not None:
                counts[node.stage] = position + 1
            if node.slot not in (None, position):
                path, _, _ = node.name.rpartition(".")
                own = replace(node, name=f"{path}.{position}", slot=position)
            names[node.name] = own.name
            nodes.append(replace(own, reads=tuple(names[name] for name in node.reads)))
        reads = tuple(names[name] for name in self.head_reads)
        return replace(self, nodes=tuple(nodes), head_reads=reads)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCatalogue:
    """Every plan that the layers of a network must serve.

    Attributes:
        nodes: The plans of each node by its name, in an order in which they can be computed; none
            for a slot that nothing uses. Of a block that is made of pieces, not every combination
            is there, but every piece.
        heads: The plans of the head.
        num_stages: How many stages there are.
    """

    nodes: Mapping[str, tuple[PiecePlan, ...]]
    heads: tuple[HeadPlan, ...]
    num_stages: int

    @staticmethod
    def of(plan: Plan) -> PlanCatalogue:
        """The catalogue with one plan in it: an extracted network."""
        return PlanCatalogue(
            nodes={node.name: (node.plan,) for node in plan.nodes},
            heads=(plan.head,),
            num_stages=len(plan.stage_flows),
        )


def widths_of(plans: Sequence[PiecePlan], attribute: str) -> tuple[int, ...]:
    """Every positive value of an integer attribute over plans, ascending: a shared layer's sizes.

    A size of 0 means that the plan does without.
    """
    return tuple(sorted({int(getattr(plan, attribute)) for plan in plans} - {0}))
