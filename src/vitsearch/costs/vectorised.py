"""The costs of many architectures at once: their rows look up tables.

The tables are arrays: segments (all but the blocks) by the shared choices of a stage and what came
before it, pieces of blocks by what flows into them and by their own choices. They are filled from
the stages' pieces as they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from vitsearch.costs.rows import Codes, Mask, RowFormat
from vitsearch.spaces import SearchSpace, Value
from vitsearch.spaces.bodies.base import Ends
from vitsearch.spaces.bodies.pieces import PieceTable
from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.cost import closed_forms, is_peak
from vitsearch.spaces.flow import StageFlow

_UNKNOWN = -1
ItemT = TypeVar("ItemT")


class RowCosts:
    """The closed forms of rows of one space with one classifier.

    It trusts its input: rows must be canonical.

    Attributes:
        metrics: The closed forms, in the order of the columns.
    """

    def __init__(self, space: SearchSpace, num_classes: int = 1000) -> None:
        self.format = RowFormat(space)
        self.metrics = closed_forms()
        self._peaks = [index for index, name in enumerate(self.metrics) if is_peak(name)]
        self._segments = _Segments(self.format, num_classes)
        tables: dict[object, _Table] = {}
        self._slots = [
            [_Slot(self.format, stage, slot, tables) for slot in range(stage.num_blocks)]
            for stage in space.stages
        ]

    def costs(self, codes: Codes) -> Codes:
        """The costs (n, metrics) of rows (choices, n), the classifier included."""
        total = np.zeros((codes.shape[1], len(self.metrics)), dtype=np.int64)
        for index, (cost, contexts) in enumerate(self._segments.look_up(codes)):
            self._join(total, cost)
            flows = self._segments.contexts[index]
            for slot in self._slots[index]:
                for half in slot.look_up(codes, contexts, flows):
                    self._join(total, half)
        return total

    def _join(self, total: Codes, more: Codes) -> None:
        """Add the costs of pieces, in place."""
        peaks = [np.maximum(total[:, index], more[:, index]) for index in self._peaks]
        total += more
        for index, peak in zip(self._peaks, peaks, strict=True):
            total[:, index] = peak


class _Table:
    """Numbers by key, made when they are first asked for. Key 0 stands for nothing: all zeros."""

    def __init__(self, columns: int) -> None:
        self._entries = np.zeros((1, columns), dtype=np.int64)

    def look_up(self, keys: Codes, make: Callable[[int], Sequence[int]]) -> Codes:
        """The entries (n, columns) of keys (n,); `make` is told a row with a key that is new."""
        size, columns = self._entries.shape
        missing = int(keys.max(initial=0)) + 1 - size
        if missing > 0:
            more = np.full((missing, columns), _UNKNOWN, dtype=np.int64)
            self._entries = np.concatenate((self._entries, more))
        found = self._entries[keys]
        unknown = np.flatnonzero(found[:, 0] == _UNKNOWN)
        if len(unknown):
            new, first = np.unique(keys[unknown], return_index=True)
            for key, row in zip(new, unknown[first], strict=True):
                self._entries[key] = make(int(row))
            found = self._entries[keys]
        return found


class _Segments:
    """What the shared choices fix: the cost of all but the blocks, and what flows in each stage.

    Attributes:
        contexts: For each stage the flows met so far, numbered in this order.
    """

    def __init__(self, rows: RowFormat, num_classes: int) -> None:
        self._rows = rows
        self._num_classes = num_classes
        space = rows.space
        self._names = [[choice.name for choice in own] for own in space.sections]
        self._num_metrics = len(closed_forms())
        self._tables = [_Table(self._num_metrics + 2) for _ in space.sections]
        self._ends: list[Ends] = [()]
        self.contexts: list[list[StageFlow]] = [[] for _ in space.stages]

    def look_up(self, codes: Codes) -> Iterator[tuple[Codes, Codes]]:
        """Stage by stage costs (n, metrics) of rows, and the numbers (n,) of their flows."""
        before: Codes = np.zeros(codes.shape[1], dtype=np.int64)
        for index, (names, table) in enumerate(zip(self._names, self._tables, strict=True)):
            make = partial(self._segment, index, codes, before)
            found = table.look_up(self._rows.keys(names, codes, before) + 1, make)
            before = found[:, -2]
            yield found[:, : self._num_metrics], found[:, -1]

    def _segment(self, index: int, codes: Codes, before: Codes, row: int) -> list[int]:
        values = self._rows.read(self._names[index], codes, row)
        found = self._rows.space.body.segment(index, self._ends[before[row]], values)
        after = number_of(found.after, self._ends)
        flow = number_of(found.flow, self.contexts[index])
        return [*found.cost(self._num_classes).numbers, after, flow]


def number_of(item: ItemT, known: list[ItemT]) -> int:
    """The place of an item in a list, at whose end it is put if it is new."""
    if item not in known:
        known.append(item)
    return known.index(item)


class _Slot:
    """A slot: the rows in which it has a block, and the pieces of that block."""

    def __init__(
        self, rows: RowFormat, stage: Stage, slot: int, tables: dict[object, _Table]
    ) -> None:
        self.stage = stage
        needed: list[tuple[str | None, tuple[Value, ...]]] = [(stage.keep_name(slot), (True,))]
        if stage.depths:
            deeper = tuple(depth for depth in stage.depths if depth > slot)
            needed.append((f"{stage.prefix}.depth", deeper))
        self._needed = [(rows.index(n), rows.holds(n, values)) for n, values in needed if n]
        self._halves = []
        pieces = stage.pieces
        for number, (role, own) in enumerate((*pieces.names.items(), *pieces.followers.items())):
            names = [f"{stage.block_prefix(slot)}.{name}" for name in own]
            looks = tuple((rows.values(name), rows.varies(name)) for name in names)
            likeness = (
                role,
                stage.index,
                stage.block.alike(slot),
                looks,
            )  # of equal looks, keys mean the same
            table = tables.setdefault(likeness, _Table(len(closed_forms())))
            self._halves.append(_Half(rows, pieces, slot, role, names, table, number == 0))

    def look_up(self, codes: Codes, contexts: Codes, flows: Sequence[StageFlow]) -> list[Codes]:
        """The costs (n, metrics) of its pieces, given the numbers (n,) of its stage's flows."""
        present = np.ones(codes.shape[1], dtype=np.bool_)
        for index, holds in self._needed:
            present &= holds[codes[index]]
        return [half.look_up(codes, present, contexts, flows) for half in self._halves]


@dataclass(frozen=True, slots=True)
class _Half:
    """A piece of the block of a slot, and the table that it shares with its like.

    Attributes:
        names: Of its choices; of a follower those that it follows.
        is_first: Whether it is the block's first piece, with which the block's own cost counts.
    """

    rows: RowFormat
    pieces: PieceTable
    slot: int
    role: str
    names: Sequence[str]
    table: _Table
    is_first: bool

    def look_up(
        self, codes: Codes, present: Mask, contexts: Codes, flows: Sequence[StageFlow]
    ) -> Codes:
        """The costs (n, metrics) of rows; nothing without a block."""
        follows = self.role in self.pieces.followers

        def make(row: int) -> Sequence[int]:
            taken = tuple(self.rows.read(self.names, codes, row).values())
            taken = (any(taken),) if follows else taken
            seen = flows[contexts[row]].seen(self.slot)
            cost = self.pieces.cost(self.role, taken, seen)
            return (cost + self.pieces.own_cost(seen) if self.is_first else cost).numbers

        if follows:
            keys = 2 * contexts + self.rows.any_above_0(self.names, codes) + 1
        else:
            keys = self.rows.keys(self.names, codes, contexts) + 1
        return self.table.look_up(np.where(present, keys, 0), make)
