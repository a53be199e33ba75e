"""The costs of many architectures at once: their rows look up tables.

The tables are arrays: frames (all but the blocks) by the shared choices, pieces of blocks by what
flows into them and by their own choices. They are filled from the stages' pieces as they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitsearch.costs.rows import Codes, Mask, RowFormat
from vitsearch.spaces import SearchSpace, Value
from vitsearch.spaces.bodies.pieces import PieceTable
from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.cost import closed_forms, is_peak
from vitsearch.spaces.flow import StageFlow

_UNKNOWN = -1


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
        self._frames = _Frames(self.format, num_classes)
        tables: dict[object, _Table] = {}
        self._slots = [
            _Slot(self.format, stage, slot, tables)
            for stage in space.stages
            for slot in range(stage.num_blocks)
        ]

    def costs(self, codes: Codes) -> Codes:
        """The costs (n, metrics) of rows (choices, n), the classifier included."""
        total, contexts = self._frames.look_up(codes)
        for slot in self._slots:
            of_stage = self._frames.contexts[slot.stage.index]
            for half in slot.look_up(codes, contexts[:, slot.stage.index], of_stage):
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


class _Frames:
    """What the shared choices fix: the cost of all but the blocks, and what flows in each stage.

    Attributes:
        contexts: For each stage the flows met so far, numbered in this order.
    """

    def __init__(self, rows: RowFormat, num_classes: int) -> None:
        self._rows = rows
        self._num_classes = num_classes
        space = rows.space
        depths = {f"{stage.prefix}.depth" for stage in space.stages}
        self._names = [choice.name for choice in space.shared_choices if choice.name not in depths]
        self._num_metrics = len(closed_forms())
        self._table = _Table(self._num_metrics + len(space.stages))
        self.contexts: list[list[StageFlow]] = [[] for _ in space.stages]

    def look_up(self, codes: Codes) -> tuple[Codes, Codes]:
        """The costs (n, metrics) of rows, and the numbers of their flows (n, stages)."""
        space = self._rows.space

        def make(row: int) -> list[int]:
            values = self._rows.read(self._names, codes, row)
            frame = space.body.frame(values)
            numbers = []
            for stage, flow in zip(space.stages, frame.stage_flows, strict=True):
                if flow not in self.contexts[stage.index]:
                    self.contexts[stage.index].append(flow)
                numbers.append(self.contexts[stage.index].index(flow))
            return [*frame.cost(self._num_classes).numbers, *numbers]

        found = self._table.look_up(self._rows.keys(self._names, codes) + 1, make)
        return found[:, : self._num_metrics].copy(), found[:, self._num_metrics :]


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
        for number, (role, own) in enumerate(stage.pieces.names.items()):
            names = [f"{stage.block_prefix(slot)}.{name}" for name in own]
            looks = tuple((rows.values(name), rows.varies(name)) for name in names)
            likeness = (role, stage.index, slot == 0, looks)  # of equal looks, keys mean the same
            table = tables.setdefault(likeness, _Table(len(closed_forms())))
            self._halves.append(_Half(rows, stage.pieces, slot, role, names, table, number == 0))

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
        names: Of its choices.
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

        def make(row: int) -> Sequence[int]:
            taken = tuple(self.rows.read(self.names, codes, row).values())
            seen = flows[contexts[row]].seen(self.slot)
            cost = self.pieces.cost(self.role, taken, seen)
            return (cost + self.pieces.own_cost(seen) if self.is_first else cost).numbers

        keys = self.rows.keys(self.names, codes, contexts) + 1
        return self.table.look_up(np.where(present, keys, 0), make)
