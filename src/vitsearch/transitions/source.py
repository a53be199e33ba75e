"""A given architecture as its transformations see it: what it spends, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from vitsearch.spaces import Architecture, SearchSpace, Value
from vitsearch.spaces.bodies.base import Ends
from vitsearch.spaces.bodies.slots import Key, PieceOption, Slot, SlotOption
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.extent import Step
from vitsearch.spaces.flow import Seen
from vitsearch.spaces.parts.base import Values

Spent = npt.NDArray[np.int64]
"""MACs and parameters, (2,)."""
Costs = npt.NDArray[np.int64]
"""MACs and parameters of several options, (n, 2)."""


def spent(cost: Cost) -> Spent:
    """The two closed forms that no transformation may raise."""
    return np.array([cost.macs, cost.params], dtype=np.int64)


@dataclass(frozen=True)
class Block:
    """A block of the given architecture.

    Attributes:
        slot: Where it stands.
        chosen: Its option of each group of pieces.
        costs: Of each group.
        own: What it costs beside its pieces.
        following: The cost of each follower that is there, by role.
    """

    slot: Slot
    chosen: tuple[PieceOption, ...]
    costs: tuple[Spent, ...]
    own: Spent
    following: Mapping[str, Spent]

    @property
    def cost(self) -> Spent:
        """Of all of it."""
        return self.own + sum(self.costs) + sum(self.following.values())

    @property
    def node(self) -> str:
        """What its choices are named below."""
        return self.slot.stage.block_prefix(self.slot.index)


@dataclass(frozen=True)
class Run:
    """Slots of a stage in which blocks move up when one before them goes.

    Attributes:
        slots: Side by side.
        is_free: Whether each block may go (skippable slots); otherwise the depth says how many
            stay, or none goes.
    """

    slots: tuple[int, ...]
    is_free: bool


@dataclass(frozen=True)
class SourceStage:
    """A stage of the given architecture.

    Attributes:
        step: Its shared choices, and what they fix.
        cost: Of everything but the blocks.
        blocks: Of each slot; `None` where it is empty.
    """

    step: Step
    cost: Spent
    blocks: tuple[Block | None, ...]

    def of_run(self, run: Run) -> list[Block]:
        """The blocks of a run, in order."""
        return [block for slot in run.slots if (block := self.blocks[slot])]


class Costing:
    """The options of slots and what they cost; each list is costed once for what a block sees."""

    def __init__(self, space: SearchSpace, num_classes: int) -> None:
        self.space = space
        self._table = space.slot_table
        self._frames = [
            [spent(step.segment.cost(num_classes)) for step in own] for own in space.steps
        ]
        self._groups: dict[tuple[Key, Seen], list[Costs]] = {}
        self._places: dict[tuple[Key, int], dict[tuple[Value | None, ...], int]] = {}
        self._runs = [_runs(slots) for slots in self._table.stages]

    def steps(self, stage: int) -> list[tuple[Step, Spent]]:
        """Every way through a stage, and what it costs without the blocks."""
        return list(zip(self.space.steps[stage], self._frames[stage], strict=True))

    def shown(self, stage: int, step: Step) -> Values:
        """The values of a step's active choices, by their names below the stage.

        Those of the stem and of the head keep their names.
        """
        prefix = f"stages.{stage}."
        return {
            choice.name.removeprefix(prefix): step.values[choice.name]
            for choice in self.space.sections[stage]
            if choice.is_active(step.values)
        }

    def slots(self, stage: int) -> Sequence[Slot]:
        """The slots of a stage."""
        return self._table.stages[stage]

    def runs(self, stage: int) -> Sequence[Run]:
        """The runs of a stage."""
        return self._runs[stage]

    def options(self, slot: Slot, known: Values) -> tuple[Key, list[SlotOption]]:
        """What a slot can be after earlier choices, and a key that says which list it is."""
        return self._table.options(slot, known)

    def with_block(self, slot: Slot, known: Values) -> tuple[Key, SlotOption] | None:
        """The option of a slot to have a block; `None` if it has none."""
        key, options = self.options(slot, known)
        for option in options:
            if option.present:
                return key, option
        return None

    def of_groups(self, slot: Slot, key: Key, option: SlotOption, seen: Seen) -> list[Costs]:
        """The costs of all options of each group of a slot's block."""
        found = self._groups.get((key, seen))
        if found is None:
            pieces = slot.stage.pieces
            found = [
                np.array(
                    [
                        sum(
                            (spent(pieces.cost(r, t, seen)) for r, t in one.pieces.items()),
                            np.zeros(2, dtype=np.int64),
                        )
                        for one in group
                    ]
                )
                for group in option.groups
            ]
            self._groups[key, seen] = found
        return found

    def place(self, key: Key, option: SlotOption, group: int, values: Values) -> int | None:
        """The position of an option with these values in a group; `None` if there is none."""
        places = self._places.get((key, group))
        if places is None:
            places = {
                tuple(one.values.values()): number
                for number, one in enumerate(option.groups[group])
            }
            self._places[key, group] = places
        names = option.groups[group][0].values
        return places.get(tuple([values.get(name) for name in names]))

    def following(self, slot: Slot, seen: Seen) -> dict[str, Spent]:
        """What each follower of a block costs if it is there."""
        pieces = slot.stage.pieces
        return {role: spent(pieces.cost(role, (True,), seen)) for role in pieces.followers}

    def own(self, slot: Slot, seen: Seen) -> Spent:
        """What a block costs beside its pieces."""
        return spent(slot.stage.pieces.own_cost(seen))


class Source:
    """A given architecture, stage by stage."""

    def __init__(self, costing: Costing, architecture: Architecture) -> None:
        """Read it.

        Raises:
            SpaceError: It is not legal in the space.
        """
        self.architecture = architecture
        self.values = costing.space.values(architecture)
        self.stages: list[SourceStage] = []
        before: Ends = ()
        for stage, choices in enumerate(costing.space.sections):
            shared = {choice.name: self.values[choice.name] for choice in choices}
            step, cost = next(
                (step, cost)
                for step, cost in costing.steps(stage)
                if step.before == before and step.values == shared
            )
            before = step.segment.after
            blocks = [self._block(costing, slot, step) for slot in costing.slots(stage)]
            self.stages.append(SourceStage(step, cost, tuple(blocks)))

    def _block(self, costing: Costing, slot: Slot, step: Step) -> Block | None:
        stage = slot.stage
        if not stage.is_present(slot.index, self.values):
            return None
        found = costing.with_block(slot, self.values)
        assert found is not None, slot.index
        key, option = found
        seen = step.segment.flow.seen(slot.index)
        values = self.below(stage.block_prefix(slot.index))
        chosen, costs = [], []
        for group, priced in enumerate(costing.of_groups(slot, key, option, seen)):
            place = costing.place(key, option, group, values)
            assert place is not None, (slot.index, values)
            chosen.append(option.groups[group][place])
            costs.append(priced[place])
        there = {role for role, (answer,) in stage.pieces.following(values).items() if answer}
        following = {r: c for r, c in costing.following(slot, seen).items() if r in there}
        return Block(slot, tuple(chosen), tuple(costs), costing.own(slot, seen), following)

    def below(self, prefix: str) -> dict[str, Value | None]:
        """The values of the choices below a name, by their names there."""
        start = len(prefix) + 1
        return {n[start:]: v for n, v in self.values.items() if n.startswith(f"{prefix}.")}

    @cached_property
    def cost(self) -> Spent:
        """Of the whole network."""
        total = np.zeros(2, dtype=np.int64)
        for stage in self.stages:
            total = total + stage.cost
            for block in filter(None, stage.blocks):
                total = total + block.cost
        return total


def _runs(slots: Sequence[Slot]) -> tuple[Run, ...]:
    stage = slots[0].stage
    if stage.depths:
        return (Run(tuple(range(len(slots))), is_free=False),)
    found: list[Run] = []
    for skippable, own in groupby(range(len(slots)), key=stage.skippable.__contains__):
        if skippable:
            found.append(Run(tuple(own), is_free=True))
        else:
            found += [Run((slot,), is_free=False) for slot in own]
    return tuple(found)
