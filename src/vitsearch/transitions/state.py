"""An architecture as a graph: nodes with features, and relations between them.

Nodes are stages (with their shared choices) and slots. Every node sees its own options: what
replaces an operation must know which one it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
import numpy.typing as npt

from vitsearch.spaces import Architecture, Choice, SearchSpace, Value
from vitsearch.transitions.source import Block, Costing, Source

Floats = npt.NDArray[np.float64]
Pattern = tuple[str, str]
"""A kind of node (`stage`, `block`), and a choice by its name below such a node."""
RELATIONS = ("forwards", "backwards", "stage to slot", "slot to stage", "between stages")
_METRICS = ("macs", "params")
_NUMBERS = 8  # shares (2), of the dearest (2), present, place in the stage, place in the space (2)
KEEP = "keep"


@dataclass(frozen=True, slots=True)
class State:
    """What a policy sees of an architecture.

    Attributes:
        architecture: Which one.
        features: (nodes, features).
    """

    architecture: Architecture
    features: Floats


class StateFormat:
    """What the states of one space mean.

    Attributes:
        nodes: The names of stages and slots, in the order of the network.
        kinds: `stage` or `block`, of each node.
        patterns: The values of each choice by kind of node and name, over all nodes of the kind;
            `None` for inactive comes last.
        relations: (relations, nodes, nodes); row i holds the weights of those that node i hears.
    """

    def __init__(self, space: SearchSpace, *, num_classes: int = 1000) -> None:
        self.space = space
        self._num_classes = num_classes
        self._costing = Costing(space, num_classes)
        nodes = [(f"stages.{s.index}", "stage", s.index, 0) for s in space.stages]
        for stage in space.stages:
            nodes += [
                (stage.block_prefix(slot), "block", stage.index, slot)
                for slot in range(stage.num_blocks)
            ]
        nodes.sort(key=lambda node: (node[2], node[1] == "block", node[3]))
        self.nodes = tuple(name for name, *_ in nodes)
        self.kinds = tuple(kind for _, kind, *_ in nodes)
        self._stage_of = [stage for _, _, stage, _ in nodes]
        self._slot_of = [slot for *_, slot in nodes]
        self.place = {name: number for number, name in enumerate(self.nodes)}
        self.patterns = self._patterns()
        self.relations = self._relations()

    def _patterns(self) -> dict[Pattern, tuple[Value | None, ...]]:
        found: dict[Pattern, dict[Value, None]] = {}
        for kind, short, choice in self._choices():
            found.setdefault((kind, short), {}).update(dict.fromkeys(choice.options))
        found.setdefault(("block", KEEP), {}).update({False: None, True: None})
        return {pattern: (*sorted(own, key=_order), None) for pattern, own in found.items()}

    def _choices(self) -> Iterator[tuple[str, str, Choice]]:
        """Kind of node, name below the node, choice."""
        for stage, shared, slots in zip(
            self.space.stages, self.space.sections, self.space.block_choices, strict=True
        ):
            for choice in shared:
                yield "stage", choice.name.removeprefix(f"{stage.prefix}."), choice
            for slot, own in enumerate(slots):
                prefix = stage.block_prefix(slot)
                for choice in own:
                    yield "block", choice.name.removeprefix(f"{prefix}."), choice

    def _relations(self) -> Floats:
        count, stages = len(self.nodes), np.array(self._stage_of)
        is_stage = np.array([kind == "stage" for kind in self.kinds])
        slots = np.flatnonzero(~is_stage)
        found = np.zeros((len(RELATIONS), count, count))
        found[0, slots[1:], slots[:-1]] = 1
        found[1, slots[:-1], slots[1:]] = 1
        same = stages[:, None] == stages[None]
        found[2] = same & ~is_stage[:, None] & is_stage[None]
        found[3] = same & is_stage[:, None] & ~is_stage[None]
        found[4] = is_stage[:, None] & is_stage[None] & ~same
        return np.asarray(found / np.maximum(found.sum(axis=2, keepdims=True), 1))

    @cached_property
    def _ends(self) -> list[tuple[float, float]]:
        """Log of the least and of the most of each metric in the space."""

        def end(metric: str, largest: bool) -> float:
            found = self.space.extreme(metric, largest=largest, num_classes=self._num_classes)
            return log(max(found[1][metric], 1))

        return [(end(metric, False), end(metric, True)) for metric in _METRICS]

    @property
    def num_features(self) -> int:
        """Of a node."""
        return _NUMBERS + len(self.space.stages) + 2 + sum(map(len, self.patterns.values()))

    def read(self, architecture: Architecture) -> State:
        """The state of an architecture.

        Raises:
            SpaceError: It is not legal in the space.
        """
        source = Source(self._costing, architecture)
        rows = [
            np.concatenate(
                (
                    self._numbers(source, node),
                    np.eye(len(self.space.stages))[self._stage_of[node]],
                    np.eye(2)[int(self.kinds[node] == "block")],
                    self._codes(source, node),
                )
            )
            for node in range(len(self.nodes))
        ]
        return State(architecture, np.stack(rows))

    def _codes(self, source: Source, node: int) -> Floats:
        """One-hot for every pattern; nothing for those of the other kind of node."""
        stage = source.stages[self._stage_of[node]]
        taken, prefix = source.architecture, f"{self.nodes[node]}."
        if self.kinds[node] == "stage":
            own = {name.removeprefix(prefix): taken.get(name) for name in stage.step.values}
        else:
            own = {name: taken.get(prefix + name) for name in source.below(self.nodes[node])}
            own[KEEP] = stage.blocks[self._slot_of[node]] is not None
        found = []
        for (kind, name), values in self.patterns.items():
            code = np.zeros(len(values))
            if kind == self.kinds[node] and name in own:
                code[values.index(own[name])] = 1
            found.append(code)
        return np.concatenate(found)

    def _numbers(self, source: Source, node: int) -> Floats:
        whole = np.maximum(source.cost, 1)
        stage = source.stages[self._stage_of[node]]
        ends = [
            (log(max(cost, 1)) - low) / max(high - low, 1e-9)
            for cost, (low, high) in zip(source.cost, self._ends, strict=True)
        ]
        slot = self._slot_of[node]
        where = slot / max(len(stage.blocks) - 1, 1)
        if self.kinds[node] == "stage":
            return np.array([*(stage.cost / whole), 0, 0, 1, where, *ends])
        block = stage.blocks[slot]
        if block is None:
            return np.array([0, 0, 0, 0, 0, where, *ends])
        dearest = np.maximum(self._dearest(source, block, self._stage_of[node]), 1)
        return np.array([*(block.cost / whole), *(block.cost / dearest), 1, where, *ends])

    def _dearest(self, source: Source, block: Block, stage: int) -> npt.NDArray[np.int64]:
        """The most that the slot can cost under the present shared choices."""
        found = self._costing.with_block(block.slot, source.values)
        assert found is not None
        seen = source.stages[stage].step.segment.flow.seen(block.slot.index)
        groups = self._costing.of_groups(block.slot, *found, seen)
        most = block.own + sum(self._costing.following(block.slot, seen).values())
        return sum((costs.max(axis=0) for costs in groups), most)

    def code(self, kind: str, name: str, value: Value | None) -> int:
        """The place of a value in its pattern."""
        return self.patterns[kind, name].index(value)


def _order(value: Value) -> tuple[str, float, str]:
    number = isinstance(value, int | float)
    return ("number" if number else "text", float(value) if number else 0.0, str(value))
