"""The rules for single slots: `cheaper`, and tables of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np

from vitsearch.errors import ConfigError
from vitsearch.spaces import SearchSpace, Value
from vitsearch.spaces.bodies.slots import PieceOption
from vitsearch.spaces.choice import normalise
from vitsearch.spaces.extent import Step
from vitsearch.spaces.parts.base import Values
from vitsearch.spaces.restriction import unknown_choice
from vitsearch.transitions.slotwise import SlotwiseTransitions, Valid
from vitsearch.transitions.source import Block, Costs, SourceStage, Spent

Table = Mapping[str, Mapping[Value, Sequence[Value]]]


class CheaperTransitions(SlotwiseTransitions):
    """No block, and no frame, may cost more MACs or parameters than the one that it replaces.

    So no output costs more than its input. The idea is that of NAT (Guo et al., NeurIPS 2019),
    whose own table forbids cheaper replacements too, and has one that is dearer (null to skip).
    """

    rule: ClassVar[str] = "cheaper"

    def _frame_may(self, before: SourceStage, step: Step, cost: Spent) -> bool:
        return bool((cost <= before.cost).all())

    def _may(self, block: Block, group: int, options: Sequence[PieceOption], costs: Costs) -> Valid:
        may = no_dearer(costs, block.costs[group])
        followers = block.slot.stage.pieces.followers
        for names in (own for role, own in followers.items() if role not in block.following):
            may &= [not any(one.values.get(name) for name in names) for one in options]
        return may

    def _block_may(self, block: Block, own: Spent, following: Mapping[str, Spent]) -> bool:
        there = [(following[role], cost) for role, cost in block.following.items()]
        return all(bool((now <= before).all()) for now, before in [(own, block.own), *there])

    def _may_go(self, block: Block) -> bool:
        return True


class TableTransitions(SlotwiseTransitions):
    """What each value may become is written down; choices that no pattern names stay.

    A choice that becomes active takes any option. Costs are not looked at.
    """

    rule: ClassVar[str] = "table"

    def __init__(self, space: SearchSpace, table: Table, *, num_classes: int = 1000) -> None:
        """Read a table.

        Args:
            space: Whose architectures.
            table: By pattern of names, or the last part of a name (`kernel_size`), what each value
                may become besides itself. A depth is `stages.0.depth`, a block that may be left out
                `stages.0.blocks.3.keep`.
            num_classes: Of the classifier.

        Raises:
            ConfigError: A pattern names no choice, or a value is none of its options.
        """
        super().__init__(space, num_classes=num_classes)
        self._may_become: dict[str, dict[Value, set[Value]]] = {}
        if not isinstance(table, Mapping) or not table:
            raise ConfigError(
                "table must map patterns of choices to what each value may become, "
                "such as {kernel_size: {31: [17]}}"
            )
        for pattern, rows in table.items():
            self._read_rows(str(pattern), rows)

    def _read_rows(self, pattern: str, rows: Any) -> None:
        matching = [
            choice
            for choice in self.space.choices
            if fnmatchcase(choice.name, pattern) or choice.name.endswith(f".{pattern}")
        ]
        if not matching:
            names = [choice.name for choice in self.space.choices]
            raise ConfigError(f"table: {unknown_choice(pattern, self.space.name, names)}")
        if not isinstance(rows, Mapping):
            raise ConfigError(f"table.{pattern}={rows!r} must map values to lists")
        known = {option for choice in matching for option in choice.options}
        read: dict[Value, set[Value]] = {}
        for value, targets in rows.items():
            listed = targets if isinstance(targets, Sequence) else [targets]
            read[normalise(value)] = {normalise(target) for target in listed}
        for value in [*read, *(target for targets in read.values() for target in targets)]:
            if value not in known:
                legal = ", ".join(map(str, sorted(known, key=str)))
                raise ConfigError(
                    f"table.{pattern} names {value}, which is no option; options: {legal}"
                )
        for choice in matching:
            self._may_become[choice.name] = read

    def _follows(self, prefix: str, before: Values, after: Values) -> bool:
        for name, value in after.items():
            old = before.get(name)
            if old is None or value is None or old == value:
                continue
            if value not in self._may_become.get(f"{prefix}{name}", {}).get(old, ()):
                return False
        return True

    def _frame_may(self, before: SourceStage, step: Step, cost: Spent) -> bool:
        return self._follows("", before.step.values, step.values)

    def _may(self, block: Block, group: int, options: Sequence[PieceOption], costs: Costs) -> Valid:
        chosen, prefix = block.chosen[group].active, f"{block.node}."
        return np.array([self._follows(prefix, chosen, one.active) for one in options])

    def _block_may(self, block: Block, own: Spent, following: Mapping[str, Spent]) -> bool:
        return True

    def _may_go(self, block: Block) -> bool:
        keep = block.slot.stage.keep_name(block.slot.index)
        return keep is None or False in self._may_become.get(keep, {}).get(True, ())


def no_dearer(costs: Costs, spent: Spent) -> Valid:
    """Which options (n,) cost no more than what is spent, in every metric."""
    return np.asarray((costs <= spent).all(axis=1))
