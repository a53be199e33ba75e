"""Transitions inside a budget: slots may become dearer where others pay for it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from vitsearch.costs import Constraint
from vitsearch.errors import ConstraintError
from vitsearch.spaces import Architecture, SearchSpace, Value
from vitsearch.spaces.bodies.base import Ends
from vitsearch.spaces.bodies.slots import Key, PieceOption, Slot, SlotOption
from vitsearch.spaces.extent import Step
from vitsearch.spaces.flow import Seen
from vitsearch.spaces.parts.base import Values
from vitsearch.transitions.decision import Decision, Walk
from vitsearch.transitions.source import Costing, Costs, Source, Spent

_METRICS = ("macs", "params")
_NOTHING = np.zeros(2, dtype=np.int64)


class Way(NamedTuple):
    """A way through a stage.

    Attributes:
        step: Its shared choices, and what they fix.
        frame: The cost of everything but the blocks.
        least: The least of frame and blocks.
        later: The least of all that comes after it.
    """

    step: Step
    frame: Spent
    least: Spent
    later: Spent


class BudgetTransitions:
    """Everything that costs no more than the given architecture, and is inside a budget.

    Walks keep the sum of what is spent and of what later decisions cost at least below the limit,
    in MACs and in parameters. The least MACs and the least parameters may belong to different
    options; where the two together leave nothing, the walk returns the given architecture.
    """

    rule: ClassVar[str] = "within"

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        num_classes: int = 1000,
    ) -> None:
        self.space = space
        self.constraint = constraint or Constraint()
        self._num_classes = num_classes
        self._costing = Costing(space, num_classes)
        self._least_of_slots: dict[tuple[Key, Seen], Spent] = {}
        self._known_ways: list[dict[Ends, list[Way]]] = []

    def limit(self, given: Architecture) -> Spent:
        """The most MACs and parameters that an output may have."""
        cost = self.space.plan(given).cost(self._num_classes)
        windows = dict(self.constraint.windows())
        return np.array(
            [min(cost[name], windows.get(name, (0, cost[name]))[1]) for name in _METRICS]
        ).astype(np.int64)

    def allows(self, given: Architecture, other: Architecture) -> bool:
        """Whether another architecture of the space is inside the limit."""
        cost = self.space.plan(other).cost(self._num_classes)
        return bool((np.array([cost.macs, cost.params]) <= self.limit(given)).all())

    def walk(self, given: Architecture) -> Walk:
        """The decisions of a transformation; see `Walk`.

        Raises:
            SpaceError: The architecture is not legal in the space.
            ConstraintError: Nothing in the space is inside the limit.
        """
        source, limit = Source(self._costing, given), self.limit(given)
        steps = yield from self._steps(source, limit)
        if steps is None:
            return given
        values: dict[str, Value | None] = {}
        for way in steps:
            values |= way.step.values
        total = sum((way.frame for way in steps), _NOTHING)
        todo = [
            (slot, way.step)
            for stage, way in enumerate(steps)
            for slot in self._costing.slots(stage)
        ]
        least = [self._least(slot, step) for slot, step in todo]
        for number, (slot, step) in enumerate(todo):
            rest = sum(least[number + 1 :], _NOTHING)
            room = limit - total - rest
            spent = yield from self._slot(slot, step, source, room, values)
            if spent is None:
                return given
            total = total + spent
        found = {name: value for name, value in values.items() if value is not None}
        return self.space.complete(lambda choice: found[choice.name])

    def _steps(self, source: Source, limit: Spent) -> Generator[Decision, int, list[Way] | None]:
        """The ways through all stages; `None` where nothing fits."""
        before: Ends = ()
        chosen: list[Way] = []
        total = _NOTHING
        for stage, own in enumerate(source.stages):
            ways = self._ways()[stage].get(before, [])
            valid = tuple(
                number
                for number, way in enumerate(ways)
                if (total + way.least + way.later <= limit).all()
            )
            if not valid:
                if not stage and not self._reaches(limit):
                    raise self._nothing(limit)
                return None
            number = valid[0]
            if len(valid) > 1:
                options = [self._costing.shown(stage, way.step) for way in ways]
                stay = next((n for n, way in enumerate(ways) if way.step == own.step), None)
                number = yield Decision(f"stages.{stage}", options, valid, stay)
            chosen.append(ways[number])
            total = total + ways[number].least
            before = ways[number].step.segment.after
        return chosen

    def _reaches(self, limit: Spent) -> bool:
        return all(
            self.space.extreme(name, largest=False, num_classes=self._num_classes)[1][name] <= most
            for name, most in zip(_METRICS, limit, strict=True)
        )

    def _nothing(self, limit: Spent) -> ConstraintError:
        return ConstraintError(
            f"no architecture of space {self.space.name} has at most {limit[0]:,} MACs and "
            f"{limit[1]:,} parameters; raise the budget"
        )

    def _ways(self) -> list[dict[Ends, list[Way]]]:
        """For each stage the ways through it, by what comes before it."""
        if self._known_ways:
            return self._known_ways
        found: list[dict[Ends, list[Way]]] = []
        for stage in reversed(range(len(self.space.stages))):
            own: dict[Ends, list[Way]] = {}
            for step, frame in self._costing.steps(stage):
                blocks = (self._least(slot, step) for slot in self._costing.slots(stage))
                later = _NOTHING
                if found:
                    behind = found[-1].get(step.segment.after, [])
                    later = np.min([way.least + way.later for way in behind], axis=0)
                own.setdefault(step.before, []).append(Way(step, frame, sum(blocks, frame), later))
            found.append(own)
        self._known_ways = found[::-1]
        return self._known_ways

    def _least(self, slot: Slot, step: Step) -> Spent:
        """The least that a slot costs in each metric."""
        if slot.stage.keep_name(slot.index) is not None:
            return _NOTHING
        found = self._costing.with_block(slot, step.values)
        if found is None:
            return _NOTHING
        key, option = found
        seen = step.segment.flow.seen(slot.index)
        if (key, seen) not in self._least_of_slots:
            self._least_of_slots[key, seen] = self._least_block(slot, key, option, seen)
        return self._least_of_slots[key, seen]

    def _least_block(self, slot: Slot, key: Key, option: SlotOption, seen: Seen) -> Spent:
        groups = self._costing.of_groups(slot, key, option, seen)
        return sum((costs.min(axis=0) for costs in groups), self._costing.own(slot, seen))

    def _slot(
        self,
        slot: Slot,
        step: Step,
        source: Source,
        room: Spent,
        values: dict[str, Value | None],
    ) -> Generator[Decision, int, Spent | None]:
        """Decide a slot; what it costs, `None` where nothing fits."""
        known = {**step.values, **values}
        key, options = self._costing.options(slot, known)
        prefix = slot.stage.block_prefix(slot.index)
        seen = step.segment.flow.seen(slot.index)
        stays = source.below(prefix)
        option = options[0]
        if len(options) > 1:
            fits = [
                number
                for number, one in enumerate(options)
                if not one.present or (self._least_block(slot, key, one, seen) <= room).all()
            ]
            number = fits[0]
            if len(fits) > 1:
                listed = [one.values for one in options]
                stay = next((n for n, v in enumerate(listed) if v["keep"] == stays["keep"]), None)
                number = yield Decision(prefix, listed, tuple(fits), stay)
            option = options[number]
        values |= {f"{prefix}.{name}": value for name, value in option.values.items()}
        if not option.present:
            return _NOTHING
        return (yield from self._block(slot, key, option, seen, source, room, values))

    def _block(
        self,
        slot: Slot,
        key: Key,
        option: SlotOption,
        seen: Seen,
        source: Source,
        room: Spent,
        values: dict[str, Value | None],
    ) -> Generator[Decision, int, Spent | None]:
        prefix = slot.stage.block_prefix(slot.index)
        stays = source.below(prefix)
        groups = self._costing.of_groups(slot, key, option, seen)
        following = self._costing.following(slot, seen)
        total = self._costing.own(slot, seen)
        for group, costs in enumerate(groups):
            listed = option.groups[group]
            priced = costs + self._of_followers(slot, listed, following)
            rest = sum((other.min(axis=0) for other in groups[group + 1 :]), _NOTHING)
            fits = np.flatnonzero((total + priced + rest <= room).all(axis=1)).tolist()
            if not fits:
                return None
            number = fits[0]
            if len(fits) > 1:
                stay = self._costing.place(key, option, group, stays)
                number = yield Decision(prefix, [one.active for one in listed], tuple(fits), stay)
            total = total + priced[number]
            for role in self._followers_of(slot, listed[number].values):
                following[role] = _NOTHING  # paid for
            values |= {f"{prefix}.{n}": value for n, value in listed[number].values.items()}
        return total

    def _of_followers(
        self, slot: Slot, options: Sequence[PieceOption], following: dict[str, Spent]
    ) -> Costs:
        """What the followers cost that each option brings along, (n, 2)."""
        return np.array(
            [
                sum((following[r] for r in self._followers_of(slot, one.values)), _NOTHING)
                for one in options
            ]
        )

    @staticmethod
    def _followers_of(slot: Slot, values: Values) -> list[str]:
        followers = slot.stage.pieces.followers
        return [r for r, names in followers.items() if any(values.get(name) for name in names)]
