"""Closed-form costs of many architectures: each distinct piece of the space is costed once.

A block's cost depends on its own choices and on a few shared ones, so a table of blocks serves
millions of architectures; no plan is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vitsearch.costs.vectorised import RowCosts
from vitsearch.spaces import Architecture, Cost, SearchSpace, Value
from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.flow import Shape
from vitsearch.spaces.parts.base import BlockPart

Key = tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class _Half:
    """A piece of the block of a slot, with the table of costs it shares with its like.

    Attributes:
        names: Of its choices.
        costs: MACs and parameters by the values of these choices, `None` where one is inactive.
    """

    part: BlockPart
    tokens: Shape
    names: tuple[str, ...]
    otherwise: Key
    costs: dict[Key, tuple[int, int]]

    def add(self, key: Key) -> tuple[int, int]:
        """Cost a half not met before."""
        own = [choice.name for choice in self.part.choices()]
        values = [o if v is None else v for v, o in zip(key, self.otherwise, strict=True)]
        cost = self.part.plan(dict(zip(own, values, strict=True)), self.tokens).cost()
        found = self.costs[key] = (cost.macs, cost.params)
        return found


@dataclass(frozen=True, slots=True)
class _Frame:
    """What an assignment of the shared choices fixes.

    Attributes:
        cost: Of everything but the blocks.
        slots: For each slot within the depth: the name of its `keep` choice or `None`, the
            cost of a block beside its pieces, its pieces.
    """

    cost: tuple[int, int]
    slots: tuple[tuple[str | None, tuple[int, int], tuple[_Half, ...]], ...]


class CostModel:
    """The cost of architectures of one space with one classifier; grows its tables as it is used.

    It trusts its input: architectures must be legal in the space.
    """

    def __init__(self, space: SearchSpace, num_classes: int = 1000) -> None:
        self.space = space
        self.num_classes = num_classes
        self._shared_names = [choice.name for choice in space.shared_choices]
        self._frames: dict[Key, _Frame] = {}
        self._tables: dict[tuple[object, ...], dict[Key, tuple[int, int]]] = {}

    @cached_property
    def rows(self) -> RowCosts:
        """The costs of many architectures at once, as rows."""
        return RowCosts(self.space, self.num_classes)

    def cost(self, architecture: Architecture) -> Cost:
        """MACs and parameters, the classifier included."""
        get = architecture.get
        shared = tuple([get(name) for name in self._shared_names])
        frame = self._frames.get(shared)
        if frame is None:
            frame = self._frames[shared] = self._frame(architecture)
        macs, params = frame.cost
        for keep, own, halves in frame.slots:
            if keep is not None and not get(keep):
                continue
            macs += own[0]
            params += own[1]
            for half in halves:
                key = tuple([get(name) for name in half.names])
                cost = half.costs.get(key) or half.add(key)
                macs += cost[0]
                params += cost[1]
        return Cost(macs, params)

    def _frame(self, architecture: Architecture) -> _Frame:
        values = self.space.values(architecture)
        slots = []
        frame = self.space.body.frame(values)
        for stage, shape in zip(self.space.stages, frame.stage_shapes, strict=True):
            own = stage.block.own_cost(shape)
            for slot in range(stage.num_blocks):
                if stage.within_depth(slot, values):
                    halves = [self._half(role, stage, slot, shape) for role in stage.block.pieces()]
                    slots.append((stage.keep_name(slot), (own.macs, own.params), tuple(halves)))
        cost = frame.cost(self.num_classes)
        return _Frame((cost.macs, cost.params), tuple(slots))

    def _half(self, role: str, stage: Stage, slot: int, tokens: Shape) -> _Half:
        part = stage.block.pieces()[role]
        prefix = stage.block_prefix(slot)
        return _Half(
            part=part,
            tokens=tokens,
            names=tuple(f"{prefix}.{choice.name}" for choice in part.choices()),
            otherwise=tuple(choice.otherwise for choice in part.choices()),
            costs=self._tables.setdefault((role, stage.index, tokens), {}),
        )


def cost(space: SearchSpace, architecture: Architecture, num_classes: int = 1000) -> Cost:
    """MACs of one image and parameters of an architecture.

    Raises:
        SpaceError: The architecture is not legal in the space.
    """
    return space.plan(architecture).cost(num_classes)


def cost_table(
    space: SearchSpace, architectures: Sequence[Architecture], num_classes: int = 1000
) -> dict[str, npt.NDArray[np.int64]]:
    """The costs of many architectures, as arrays (n,) of 64-bit integers: `macs` and `params`.

    Raises:
        SpaceError: An architecture has a value that is no option of the space.
    """
    rows = RowCosts(space, num_classes)
    macs, params = rows.costs(rows.format.encode(architectures)).T.copy()
    return {"macs": macs, "params": params}
