"""Closed-form costs of single architectures, without their plans.

What the shared choices of a stage fix is looked up once (a segment); what is left are the pieces of
blocks, which the stages have costed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vitsearch.costs.vectorised import RowCosts, number_of
from vitsearch.spaces import Architecture, Cost, SearchSpace, Value
from vitsearch.spaces.bodies.base import Ends
from vitsearch.spaces.bodies.pieces import PieceTable
from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.cost import closed_forms, joining
from vitsearch.spaces.flow import Seen

Key = tuple[Value | None, ...]
Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Half:
    """A piece of the block of a slot, with the numbers that it shares with its like.

    Attributes:
        names: Of its choices; of a follower those that it follows.
        follows: Whether it is a follower.
        otherwise: What stands where one of them is inactive.
        costs: Numbers by the values of these choices, `None` where one is inactive.
    """

    pieces: PieceTable
    role: str
    seen: Seen
    names: tuple[str, ...]
    follows: bool
    otherwise: Key
    costs: dict[Key, Numbers]

    def add(self, key: Key) -> Numbers:
        """Look up one that was not met before."""
        values = tuple(o if v is None else v for v, o in zip(key, self.otherwise, strict=True))
        cost = self.pieces.cost(self.role, values, self.seen)
        found = self.costs[key] = cost.numbers
        return found


@dataclass(frozen=True, slots=True)
class _Segment:
    """What the shared choices of a stage fix, after what came before it.

    Attributes:
        cost: Of everything but the blocks, the head with the last stage.
        slots: For each slot within the depth: the name of its `keep` choice or `None`, the
            cost of a block beside its pieces, its pieces.
        after: The number of what the next stage depends on.
    """

    cost: Numbers
    slots: tuple[tuple[str | None, Numbers, tuple[_Half, ...]], ...]
    after: int


class CostModel:
    """The cost of architectures of one space with one classifier; grows its tables as it is used.

    It trusts its input: architectures must be legal in the space.
    """

    def __init__(self, space: SearchSpace, num_classes: int = 1000) -> None:
        self.space = space
        self.num_classes = num_classes
        self._names = [tuple(choice.name for choice in own) for own in space.sections]
        self._segments: list[dict[Key, _Segment]] = [{} for _ in space.sections]
        self._ends: list[Ends] = [()]
        self._tables: dict[tuple[object, ...], dict[Key, Numbers]] = {}
        self._further = closed_forms()[2:]
        self._joins = [joining(name) for name in closed_forms()]

    @cached_property
    def rows(self) -> RowCosts:
        """The costs of many architectures at once, as rows."""
        return RowCosts(self.space, self.num_classes)

    def cost(self, architecture: Architecture) -> Cost:
        """All closed forms, the classifier included."""
        get = architecture.to_dict().get  # a dictionary's own, which is faster
        macs = params = before = 0
        further: list[Numbers] | None = [] if self._further else None
        for index, names in enumerate(self._names):
            shared = (before, *[get(name) for name in names])
            segment = self._segments[index].get(shared)
            if segment is None:
                segment = self._segments[index][shared] = self._segment(index, before, architecture)
            macs += segment.cost[0]
            params += segment.cost[1]
            if further is not None:
                further.append(segment.cost)
            for keep, own, halves in segment.slots:
                if keep is not None and not get(keep):
                    continue
                macs += own[0]
                params += own[1]
                for half in halves:
                    key: Key = tuple([get(name) for name in half.names])
                    if half.follows:
                        key = (any(key),)
                    cost = half.costs.get(key) or half.add(key)
                    macs += cost[0]
                    params += cost[1]
                    if further is not None:
                        further.append(cost)
                if further is not None:
                    further.append(own)
            before = segment.after
        return Cost(macs, params) if further is None else self._joined(further)

    def _joined(self, pieces: Sequence[Numbers]) -> Cost:
        """The cost of pieces together, where not all numbers add up."""
        columns = zip(*pieces, strict=True)
        macs, params, *further = [join(c) for join, c in zip(self._joins, columns, strict=True)]
        return Cost(macs, params, tuple(zip(self._further, further, strict=True)))

    def _segment(self, index: int, before: int, architecture: Architecture) -> _Segment:
        """Look up one that was not met before."""
        stage = self.space.stages[index]
        values = self.space.values(architecture)
        found = self.space.body.segment(index, self._ends[before], values)
        slots = []
        for slot in range(stage.num_blocks):
            if stage.within_depth(slot, values):
                seen = found.flow.seen(slot)
                own = stage.pieces.own_cost(seen)
                roles = (*stage.pieces.names, *stage.pieces.followers)
                halves = [self._half(role, stage, slot, seen) for role in roles]
                slots.append((stage.keep_name(slot), own.numbers, tuple(halves)))
        return _Segment(
            cost=found.cost(self.num_classes).numbers,
            slots=tuple(slots),
            after=number_of(found.after, self._ends),
        )

    def _half(self, role: str, stage: Stage, slot: int, seen: Seen) -> _Half:
        choices = stage.block.pieces()[role].choices()
        follows = stage.pieces.followers.get(role)
        prefix = stage.block_prefix(slot)
        names = tuple(choice.name for choice in choices) if follows is None else follows
        return _Half(
            pieces=stage.pieces,
            role=role,
            seen=seen,
            names=tuple(f"{prefix}.{name}" for name in names),
            follows=follows is not None,
            otherwise=tuple(c.otherwise for c in choices) if follows is None else (False,),
            costs=self._tables.setdefault((role, stage.index, seen), {}),
        )


def cost(space: SearchSpace, architecture: Architecture, num_classes: int = 1000) -> Cost:
    """MACs of one image, parameters and all other closed forms of an architecture.

    Raises:
        SpaceError: The architecture is not legal in the space.
    """
    return space.plan(architecture).cost(num_classes)


def cost_table(
    space: SearchSpace, architectures: Sequence[Architecture], num_classes: int = 1000
) -> dict[str, npt.NDArray[np.int64]]:
    """The costs of many architectures, as arrays (n,) of 64-bit integers: `macs`, `params`, ...

    Raises:
        SpaceError: An architecture has a value that is no option of the space.
    """
    rows = RowCosts(space, num_classes)
    columns = rows.costs(rows.format.encode(architectures)).T.copy()
    return dict(zip(rows.metrics, columns, strict=True))
