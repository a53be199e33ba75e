"""The body `stages`: a stem, stages of blocks with transitions between them, a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.bodies.base import Ends, Segment, StandIn
from vitsearch.spaces.bodies.stage import Stage, build_stages
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.flow import Map, MapAndTokens, Shape, StageFlow, Tokens
from vitsearch.spaces.parts.base import (
    BODIES,
    HEADS,
    STEM_WIDTH,
    STEMS,
    HeadPart,
    StageContext,
    StemPart,
    Values,
)
from vitsearch.spaces.plan import IMAGE, Node, PiecePlan, Plan
from vitsearch.spaces.settings import Settings

Names = tuple[tuple[str, str], ...]
"""The choices of a part, by their short and their full names."""
_WORDS = {Tokens: "tokens", Map: "a map", MapAndTokens: "a map and tokens"}


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A chain: every node reads the one before it.

    Attributes:
        image_size: Side of the square input, pixels.
        in_chans: Channels of the input.
        stem: Image to tokens, or to a map.
        stages: Runs of blocks.
        head: What answers.
    """

    image_size: int
    in_chans: int
    stem: StemPart
    stages: tuple[Stage, ...]
    head: HeadPart

    takes_any_shape: ClassVar[bool] = False

    @cached_property
    def _stem_names(self) -> Names:
        return _names("stem", self.stem.choices())

    @cached_property
    def _head_names(self) -> Names:
        return _names("head", self.head.choices())

    def shared_choices(self) -> tuple[tuple[Choice, ...], ...]:
        """Each stage's own; the stem's with the first, the head's with the last."""
        found = [list(stage.own_choices()) for stage in self.stages]
        found[0][:0] = (choice.under("stem") for choice in self.stem.choices())
        found[-1] += (choice.under("head") for choice in self.head.choices())
        return tuple(map(tuple, found))

    def segment(self, index: int, before: Ends, values: Values) -> Segment:
        """What a stage's shared choices fix; the last stage has the head with it."""
        stage = self.stages[index]
        nodes, flow = self._lead(stage, before, values)
        ends = (*(before if self.head.sees_all else ()), flow.shape)
        if index < len(self.stages) - 1:
            return Segment(nodes=nodes, flow=flow, after=ends, head=None)
        stages = self.stages if self.head.sees_all else (stage,)
        seen = [
            Node(name=s.prefix, plan=StandIn(shape.embed_dim), reads=(), shape=shape)
            for s, shape in zip(stages, ends, strict=True)
        ]
        own = self.head.nodes(seen)
        head = self.head.plan(_under(self._head_names, values), (*seen, *own))
        return Segment(nodes=(*nodes, *own), flow=flow, after=(), head=head)

    def _lead(
        self, stage: Stage, before: Ends, values: Values
    ) -> tuple[tuple[Node, ...], StageFlow]:
        """The stem in front of the first stage, what leads to a stage, and what flows there."""
        nodes = []
        if stage.index == 0:
            shape = self._after_stem(values)
            stem = self._stem_plan(values, shape)
            nodes.append(Node(name="stem", plan=stem, reads=(IMAGE,), shape=shape))
        else:
            shape = before[-1]
        flow = self._flow(stage, shape, values)
        if stage.transition is not None:
            nodes.append(
                Node(
                    name=f"{stage.prefix}.transition",
                    plan=stage.transition.plan(stage.transition_values(values), shape, flow.shape),
                    reads=(),
                    shape=flow.shape,
                    stage=stage.index,
                )
            )
        return tuple(nodes), flow

    def _flow(self, stage: Stage, before: Shape, values: Values) -> StageFlow:
        grid = stage.block.grid(before.grid)
        if stage.transition is not None:
            grid = stage.transition.grid(stage.transition_values(values), grid)
        width = int(values[f"{stage.prefix}.embed_dim"] or 0)
        after = self._shape(stage.block.flow, width, grid)
        return stage.block.stage_flow(before, after, stage.own_values(values), stage.num_blocks)

    def _after_stem(self, values: Values) -> Shape:
        """What the stem gives."""
        own = _under(self._stem_names, values)
        width = own.get(STEM_WIDTH) or values[f"{self.stages[0].prefix}.embed_dim"] or 0
        return self._shape(
            _flow(self.stem, "gives"), int(width), self.stem.grid(own, self.image_size)
        )

    def _shape(self, kind: type[Shape], width: int, grid: tuple[int, int]) -> Shape:
        if kind is Map:
            return Map(embed_dim=width, grid=grid)
        prefix = self.head.num_prefix_tokens
        return Tokens(embed_dim=width, grid=grid, num_prefix_tokens=prefix)

    @property
    def names(self) -> tuple[str, ...]:
        """Stem, transitions and blocks, the head's nodes."""
        found = ["stem"]
        for stage in self.stages:
            if stage.transition is not None:
                found.append(f"{stage.prefix}.transition")
            found += [stage.block_prefix(slot) for slot in range(stage.num_blocks)]
        return (*found, *self.head.node_names)

    def plan(self, values: Values) -> Plan:
        """All nodes of an architecture."""
        nodes: list[Node] = []
        ends: list[Node] = []
        flows: list[StageFlow] = []
        before: Ends = ()
        for stage in self.stages:
            leading, flow = self._lead(stage, before, values)
            before = (flow.shape,)
            flows.append(flow)
            for node in leading:
                nodes.append(replace(node, reads=(nodes[-1].name,)) if nodes else node)
            for slot in range(stage.num_blocks):
                if stage.is_present(slot, values):
                    nodes.append(
                        Node(
                            name=stage.block_prefix(slot),
                            plan=stage.block_plan(slot, values, flow.seen(slot)),
                            reads=(nodes[-1].name,),
                            shape=flow.given(slot),
                            stage=stage.index,
                            slot=slot,
                        )
                    )
            ends.append(nodes[-1])
        own = self.head.nodes(ends)
        seen = (*ends, *own)
        return Plan(
            image_size=self.image_size,
            in_chans=self.in_chans,
            nodes=(*nodes, *own),
            stage_flows=tuple(flows),
            head=self.head.plan(_under(self._head_names, values), seen),
            head_reads=self.head.reads(seen),
        )

    def _stem_plan(self, values: Values, shape: Shape) -> PiecePlan:
        plan: PiecePlan = self.stem.plan(
            _under(self._stem_names, values),
            image_size=self.image_size,
            in_chans=self.in_chans,
            embed_dim=shape.embed_dim,
            num_prefix_tokens=shape.num_prefix_tokens,
        )
        return plan


def _names(path: str, choices: tuple[Choice, ...]) -> Names:
    return tuple((choice.name, f"{path}.{choice.name}") for choice in choices)


def _under(names: Names, values: Values) -> Values:
    """The values of a part's choices, by their short names."""
    return {short: values[full] for short, full in names}


@BODIES.register("stages")
def _stages(settings: Settings, context: StageContext) -> Stages:
    config = context.config
    own = Settings(config, "space")
    patch_sizes = own.integers("patch_sizes") if own.has("patch_sizes") else ()
    image_size, in_chans = own.image_size("image_size"), own.integer("in_chans", 3)
    if not isinstance(image_size, int):
        raise SpaceError(
            f"space.image_size={list(image_size)}: body stages takes square images; give one number"
        )
    stages = build_stages(config, patch_sizes)
    first = StageContext(
        index=0,
        num_stages=len(stages),
        embed_dims=stages[0].embed_dims,
        patch_sizes=patch_sizes,
        config=config,
    )
    stem = STEMS.build(config.get("stem"), first)
    body = Stages(
        image_size=image_size,
        in_chans=in_chans,
        stem=stem,
        stages=stages,
        head=HEADS.build(head_section(config.get("head", {})), first),
    )
    _check_flow(body)
    return body


def head_section(section: Any) -> Any:
    """A head is one of classifiers unless its section says another kind."""
    return {"kind": "classifier", **section} if isinstance(section, Mapping) else section


def _check_flow(body: Stages) -> None:
    """Refuse parts that do not take what the part before them gives.

    Raises:
        SpaceError: Names both.
    """
    first: tuple[type[Shape], ...] = (Tokens,)
    steps = [("the stem", first, _flow(body.stem, "gives"))]
    for stage in body.stages:
        if stage.transition is not None:
            takes, gives = _flow(stage.transition, "takes"), _flow(stage.transition, "gives")
            steps.append((f"the transition to stage {stage.index}", (takes,), gives))
        steps.append((f"stage {stage.index}", stage.block.takes, stage.block.gives))
    steps.append(("the head", body.head.takes, Tokens))
    for (before, _, given), (after, taken, _) in pairwise(steps):
        if given in taken:
            continue
        advice = "choose a space/transition that leads from one to the other, or other parts"
        if after == "the head":
            advice = "choose a space/head that takes it, such as resnet, or other parts"
        raise SpaceError(
            f"{before} gives {_WORDS[given]}, but {after} takes "
            f"{' or '.join(_WORDS[kind] for kind in taken)}; {advice}"
        )


def _flow(part: object, name: str) -> type[Shape]:
    found: type[Shape] = getattr(part, name, Tokens)
    return found
