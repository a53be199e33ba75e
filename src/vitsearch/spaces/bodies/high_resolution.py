"""The body `high_resolution`: branches of several resolutions side by side, and fusions between.

    stem -> module 0 -> module 1 -> ... -> what leads to the head

Every module is a stage of the space, so is what leads to the head: for one answer an image all maps
are widened and led down to the coarsest, for one answer a pixel they are joined at the finest. A
head that reads the maps of all branches itself (`fpn`, `vt_fpn`) gets them as they are.

Source: HR-NAS (Ding et al., CVPR 2021), section 3; the sizes and counts are those of the authors'
code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.bodies.base import Ends, Segment, StandIn
from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.bodies.stages import head_section
from vitsearch.spaces.bodies.wiring import End, Place, Wired, Wiring
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.flow import ImageSize, Map, StageFlow
from vitsearch.spaces.parts.base import (
    BLOCKS,
    BODIES,
    HEADS,
    STEM_WIDTH,
    STEMS,
    HeadPart,
    StageContext,
    Values,
)
from vitsearch.spaces.parts.hr import ConvsStem, SearchingBlocks
from vitsearch.spaces.plan import IMAGE, Node, Plan
from vitsearch.spaces.settings import LARGEST, MOST_BLOCKS, MOST_STAGES, Settings


@dataclass(frozen=True, kw_only=True)
class BranchStage(Stage):
    """A module: its searching blocks, each in a place of its own.

    Attributes:
        places: Where its blocks stand.
        blocks: What describes them.
    """

    places: tuple[Place, ...]
    blocks: SearchingBlocks

    def own_choices(self) -> tuple[Choice, ...]:
        """None: all widths are fixed."""
        return ()

    def block_prefix(self, slot: int) -> str:
        """Its place."""
        return self.places[slot].name

    def block_choices(self, slot: int) -> tuple[Choice, ...]:
        """Channels of each kernel, and tokens; as many as the map's width allows."""
        kind = self.blocks.of(self.places[slot].step)
        return tuple(choice.under(self.block_prefix(slot)) for choice in kind.choices())


@dataclass(frozen=True, kw_only=True)
class HighResolution:
    """Modules of parallel branches.

    Attributes:
        image_size: Of the input, pixels.
        in_chans: Channels of the input.
        stem: Image to the first map.
        stages: The modules, and what leads to the head.
        wired: The nodes of each stage, in order.
        branches: The last map of each branch.
        end: The map that the head reads, unless it reads those of all branches.
        head: What answers.
    """

    image_size: ImageSize
    in_chans: int
    stem: ConvsStem
    stages: tuple[BranchStage, ...]
    wired: tuple[tuple[Wired, ...], ...]
    branches: tuple[End, ...]
    end: End
    head: HeadPart

    takes_any_shape: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """All nodes, in order; all are always there."""
        own = (node.name for nodes in self.wired for node in nodes)
        return ("stem", *own, *self.head.node_names)

    def shared_choices(self) -> tuple[tuple[Choice, ...], ...]:
        """The stem's with the first stage, the head's with the last."""
        found: list[tuple[Choice, ...]] = [() for _ in self.stages]
        found[0] = tuple(choice.under("stem") for choice in self.stem.choices())
        found[-1] += tuple(choice.under("head") for choice in self.head.choices())
        return tuple(found)

    def segment(self, index: int, before: Ends, values: Values) -> Segment:
        """What a stage has beside its blocks."""
        nodes = tuple(node for node in self.wired[index] if isinstance(node, Node))
        if index == 0:
            nodes = (self._stem, *nodes)
        flow = self._flows[index]
        if index < len(self.stages) - 1:
            return Segment(nodes=nodes, flow=flow, after=(), head=None)
        seen = self._seen_by_head
        own = self.head.nodes(seen)
        head = self.head.plan(self._head_values(values), (*seen, *own))
        return Segment(nodes=(*nodes, *own), flow=flow, after=(), head=head)

    def plan(self, values: Values) -> Plan:
        """All nodes of an architecture."""
        nodes = [self._stem]
        for stage, wired in zip(self.stages, self.wired, strict=True):
            slot = 0
            for own in wired:
                if isinstance(own, Node):
                    nodes.append(own)
                    continue
                nodes.append(
                    Node(
                        name=own.name,
                        plan=stage.block_plan(slot, values, own.step),
                        reads=(own.reads,),
                        shape=own.gives,
                        stage=stage.index,
                        slot=slot,
                    )
                )
                slot += 1
        own_nodes = self.head.nodes(self._seen_by_head)
        seen = (*self._seen_by_head, *own_nodes)
        return Plan(
            image_size=self.image_size,
            in_chans=self.in_chans,
            nodes=(*nodes, *own_nodes),
            stage_flows=self._flows,
            head=self.head.plan(self._head_values(values), seen),
            head_reads=self.head.reads(seen),
            feature_names=tuple(end.name for end in self.branches),
        )

    @cached_property
    def _stem(self) -> Node:
        shape = Map(embed_dim=self.stem.width, grid=self.stem.grid({}, self.image_size))
        plan = self.stem.plan(
            {STEM_WIDTH: self.stem.width},
            image_size=self.image_size,
            in_chans=self.in_chans,
            embed_dim=self.stem.width,
            num_prefix_tokens=0,
        )
        return Node(name="stem", plan=plan, reads=(IMAGE,), shape=shape)

    @cached_property
    def _flows(self) -> tuple[StageFlow, ...]:
        found = []
        for stage in self.stages:
            slots = tuple((place.step, place.gives) for place in stage.places)
            found.append(StageFlow(shape=slots[-1][1], first=slots[0][0], slots=slots))
        return tuple(found)

    @cached_property
    def _seen_by_head(self) -> tuple[Node, ...]:
        """The nodes that the head may read, with their shapes."""
        ends = self.branches if self.head.sees_all else (self.end,)
        return tuple(
            Node(name=end.name, plan=StandIn(end.shape.embed_dim), reads=(), shape=end.shape)
            for end in ends
        )

    def _head_values(self, values: Values) -> Values:
        return {choice.name: values[f"head.{choice.name}"] for choice in self.head.choices()}


@BODIES.register("high_resolution")
def _high_resolution(settings: Settings, context: StageContext) -> HighResolution:
    config = context.config
    own = Settings(config, "space")
    image_size, in_chans = own.image_size("image_size"), own.integer("in_chans", 3)
    widths, blocks = _modules(settings)
    widen, features = _list(settings, "widen"), settings.integer("features")
    joined = settings.integer("joined")
    first = StageContext(index=0, num_stages=1, embed_dims=(widths[0][0],), config=config)
    stem = STEMS.build(config.get("stem"), first)
    block = BLOCKS.build(config.get("block"), first)
    head: HeadPart = HEADS.build(head_section(config.get("head", {})), first)
    _check_parts(stem, block, head)
    assert isinstance(stem, ConvsStem)
    assert isinstance(block, SearchingBlocks)
    wirings = []
    grid = stem.grid({}, image_size)
    ends = [End(name="stem", shape=Map(embed_dim=stem.width, grid=grid))]
    for index, (module_widths, module_blocks) in enumerate(zip(widths, blocks, strict=True)):
        wirings.append(Wiring(f"stages.{index}", block.layers))
        ends = wirings[-1].module(ends, module_widths, module_blocks)
    end = ends[-1]
    if not head.sees_all:
        wirings.append(Wiring(f"stages.{len(widths)}", block.layers))
        if head.dense:
            end = wirings[-1].joined(ends, joined)
        else:
            if len(widen) != len(ends):
                raise SpaceError(
                    f"{settings.path}.widen={list(widen)} must have a width for each of the last "
                    f"{len(ends)} branches"
                )
            end = wirings[-1].widened(ends, widen, features)
    return HighResolution(
        image_size=image_size,
        in_chans=in_chans,
        stem=stem,
        stages=tuple(_stage(index, wiring, block) for index, wiring in enumerate(wirings)),
        wired=tuple(tuple(wiring.nodes) for wiring in wirings),
        branches=tuple(ends),
        end=end,
        head=head,
    )


def _stage(index: int, wiring: Wiring, block: SearchingBlocks) -> BranchStage:
    places = wiring.places
    return BranchStage(
        index=index,
        num_blocks=len(places),
        embed_dims=tuple(sorted({place.step.embed_dim for place in places})),
        depths=(),
        depth_weights=None,
        skippable=(),
        transition=None,
        block=block.of(places[0].step),
        places=places,
        blocks=block,
    )


def _check_parts(stem: object, block: object, head: HeadPart) -> None:
    """Refuse parts that are not made for maps.

    Raises:
        SpaceError: Names the part, and what would fit.
    """
    needs = "body high_resolution needs"
    if not isinstance(stem, ConvsStem):
        raise SpaceError(f"{needs} space/stem=convs, not a stem of another kind")
    if not isinstance(block, SearchingBlocks):
        raise SpaceError(f"{needs} space/block=searching, not blocks of another kind")
    if Map not in head.takes:
        raise SpaceError(
            f"{needs} a head that takes a map, such as space/head=resnet; this one takes tokens"
        )


def _modules(settings: Settings) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The widths of each module's branches, and how many blocks each branch has."""
    widths = _lists(settings, "branches", LARGEST)
    blocks = _lists(settings, "blocks", MOST_BLOCKS)
    if list(map(len, widths)) != list(map(len, blocks)):
        raise SpaceError(
            f"{settings.path}.blocks={list(map(list, blocks))} must have a number for each branch "
            f"of {settings.path}.branches={list(map(list, widths))}"
        )
    counts = [1, *map(len, widths)]
    if any(not 0 <= after - before <= 1 for before, after in pairwise(counts)):
        raise SpaceError(
            f"{settings.path}.branches={list(map(list, widths))}: each module has as many branches "
            f"as the one before it, or one more; the stem gives one"
        )
    return widths, blocks


def _lists(settings: Settings, key: str, most: int) -> list[tuple[int, ...]]:
    name, value = f"{settings.path}.{key}", settings.section(key)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise SpaceError(f"{name}={value} must be a list with a list for each module")
    if len(value) > MOST_STAGES - 1:
        raise SpaceError(f"{name} lists {len(value)} modules; at most {MOST_STAGES - 1}")
    return [_whole(name, own, most) for own in value]


def _list(settings: Settings, key: str) -> tuple[int, ...]:
    return _whole(f"{settings.path}.{key}", settings.section(key), LARGEST)


def _whole(name: str, value: Any, most: int) -> tuple[int, ...]:
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if not listed or not all(isinstance(n, int) and 0 < n <= most for n in listed):
        raise SpaceError(f"{name}={value} must be whole numbers from 1 to {most}")
    return tuple(listed)
