"""What holds for all architectures of a space together: how many, the ends, every piece they need.

All of it is exact. The choices fall in two: the *shared* ones of each stage (patch size, width,
depth), which are few and are enumerated, and those of the blocks, which depend on little else once
the shared ones are fixed. Stages know each other by the shapes between them. So counts multiply and
costs add up slot by slot (see `slots.py`) and stage by stage, and products over stages are never
enumerated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from vitsearch.errors import SpaceError
from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.bodies.base import Ends, Segment
from vitsearch.spaces.bodies.pieces import Taken
from vitsearch.spaces.bodies.slots import Key, Slot, SlotOption, SlotTable, State
from vitsearch.spaces.choice import Choice, Value, assignments
from vitsearch.spaces.cost import Cost, closed_forms, is_peak, no_cost
from vitsearch.spaces.flow import Seen, StageFlow
from vitsearch.spaces.parts.base import Values
from vitsearch.spaces.plan import HeadPlan, PiecePlan, PlanCatalogue

if TYPE_CHECKING:
    from vitsearch.spaces.space import SearchSpace

Rank = tuple[int, int]
Chosen = dict[str, Value | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One way through a stage.

    Attributes:
        before: What came before it, as far as it matters.
        values: Of the stage's shared choices.
        segment: What they fix.
    """

    before: Ends
    values: Values
    segment: Segment


def steps(space: SearchSpace) -> tuple[tuple[Step, ...], ...]:
    """Every way through each stage.

    Raises:
        SpaceError: Sizes do not fit together.
    """
    found: list[tuple[Step, ...]] = []
    states: dict[Ends, None] = {(): None}
    for index, choices in enumerate(space.sections):
        names = {choice.name for choice in choices}
        for choice in choices:
            assert {c.name for c in choice.active_when} <= names, f"{choice.name}: another stage"
        own = [
            Step(before=before, values=values, segment=space.body.segment(index, before, values))
            for before in states
            for values in assignments(choices)
        ]
        found.append(tuple(own))
        states = dict.fromkeys(step.segment.after for step in own)
    return tuple(found)


def size(space: SearchSpace) -> int:
    """The exact number of architectures."""
    table = space.slot_table
    counts: dict[tuple[object, ...], int] = {}
    ways: dict[Ends, int] = {(): 1}
    for stage, own in zip(space.stages, space.steps, strict=True):
        following: dict[Ends, int] = {}
        for step in own:
            key = tuple(slot.key(step.values) for slot in table.stages[stage.index])
            if key not in counts:
                counts[key] = _count(table, stage.index, step.values)
            after = step.segment.after
            following[after] = following.get(after, 0) + ways[step.before] * counts[key]
        ways = following
    return sum(ways.values())


def _count(table: SlotTable, stage: int, shared: Values) -> int:
    states: dict[State, int] = {(): 1}
    for slot in table.stages[stage]:
        following: dict[State, int] = {}
        for state, ways in states.items():
            _, options = table.options(slot, {**shared, **dict(state)})
            for option in options:
                after = table.state_after(slot, state, option)
                following[after] = following.get(after, 0) + ways * option.count
        states = following
    return sum(states.values())


def extreme(
    space: SearchSpace, *, largest: bool, metric: str = "macs", num_classes: int = 0
) -> Architecture:
    """The architecture with most or least of a closed form.

    Parameters break the ties of MACs, MACs those of all others.

    Raises:
        SpaceError: The metric has no closed form.
    """
    if metric not in closed_forms():
        raise SpaceError(f"{metric} has no closed form; legal: {', '.join(closed_forms())}")
    order = _Order(metric, largest)
    ends = _Ends(space.slot_table, order)
    best: dict[Ends, _Way] = {(): _Way(order.nothing, (), ())}
    for stage, own in zip(space.stages, space.steps, strict=True):
        following: dict[Ends, _Way] = {}
        for step in own:
            way = best[step.before]
            rank = order.join(way.rank, order.rank(step.segment.cost(num_classes)))
            of_blocks, chosen = ends.of_stage(stage.index, step.values, step.segment.flow)
            rank = order.join(rank, of_blocks)
            after = step.segment.after
            if after not in following or order.beats(rank, following[after].rank):
                following[after] = _Way(rank, (*way.shared, step.values), (*way.chosen, *chosen))
        best = following
    (whole,) = best.values()  # nothing depends on what comes after the last stage
    found: Chosen = {name: value for values in whole.shared for name, value in values.items()}
    for slot, values in whole.chosen:
        prefix = slot.stage.block_prefix(slot.index)
        found.update({f"{prefix}.{name}": value for name, value in values.items()})

    def pick(choice: Choice) -> Value:
        value = found[choice.name]
        assert value is not None, choice.name
        return value

    return space.complete(pick)


class _Way(NamedTuple):
    """A way through some stages: its rank, the shared values of each, the values of the slots."""

    rank: Rank
    shared: tuple[Values, ...]
    chosen: tuple[tuple[Slot, Values], ...]


class _Order:
    """What makes one network more of an end than another: a metric, then one that breaks ties.

    Ranks of pieces are joined like their costs. Joining keeps the order of the metric itself,
    whether numbers add up or the largest counts, so the best way through some slots begins with
    the best way through the first of them.
    """

    nothing: Rank = (0, 0)

    def __init__(self, metric: str, largest: bool) -> None:
        self._metrics = (metric, "params" if metric == "macs" else "macs")
        self._is_peak = is_peak(metric)
        self._largest = largest

    def rank(self, cost: Cost) -> Rank:
        first, second = self._metrics
        return cost[first], cost[second]

    def join(self, one: Rank, other: Rank) -> Rank:
        first = max(one[0], other[0]) if self._is_peak else one[0] + other[0]
        return first, one[1] + other[1]

    def beats(self, one: Rank, other: Rank) -> bool:
        return one > other if self._largest else one < other


class _Ends:
    """The best way through the slots of a stage."""

    def __init__(self, table: SlotTable, order: _Order) -> None:
        self._table = table
        self._order = order
        self._best: dict[Key, dict[State, tuple[Rank, Values]]] = {}

    def of_stage(
        self, stage: int, shared: Values, flow: StageFlow
    ) -> tuple[Rank, list[tuple[Slot, Values]]]:
        states: dict[State, tuple[Rank, list[tuple[Slot, Values]]]] = {(): ((0, 0), [])}
        for slot in self._table.stages[stage]:
            following: dict[State, tuple[Rank, list[tuple[Slot, Values]]]] = {}
            seen = flow.seen(slot.index)
            for state, (so_far, chosen) in states.items():
                for after, (rank, values) in self._of_slot(slot, state, shared, seen).items():
                    total = self._order.join(so_far, rank)
                    if after not in following or self._order.beats(total, following[after][0]):
                        following[after] = (total, [*chosen, (slot, values)])
            states = following
        best, *others = states.values()
        for found in others:
            best = found if self._order.beats(found[0], best[0]) else best
        return best

    def _of_slot(
        self, slot: Slot, state: State, shared: Values, seen: Seen
    ) -> dict[State, tuple[Rank, Values]]:
        """For each state that the slot can lead to, its best values."""
        table = self._table
        key, options = table.options(slot, {**shared, **dict(state)})
        linked = bool(table.state_after(slot, state, options[0]))
        known = (key, seen, slot.index if linked else None, state)
        if known not in self._best:
            best: dict[State, tuple[Rank, Values]] = {}
            for option in options:
                after = table.state_after(slot, state, option)
                rank, values = self._of_option(slot, option, seen)
                if after not in best or self._order.beats(rank, best[after][0]):
                    best[after] = (rank, values)
            self._best[known] = best
        return self._best[known]

    def _of_option(self, slot: Slot, option: SlotOption, seen: Seen) -> tuple[Rank, Values]:
        """The best values of a slot: of each group of pieces its own best.

        Followers do not change which these are: nothing is cheaper than a piece that is not there.
        """
        pieces, order = slot.stage.pieces, self._order
        values = dict(option.values)
        if not option.present:
            for (only,) in option.groups:
                values |= only.values
            return order.rank(no_cost()), values

        def joined(taken: Mapping[str, Taken]) -> Rank:
            ranks = (order.rank(pieces.cost(role, own, seen)) for role, own in taken.items())
            return reduce(order.join, ranks, order.nothing)

        total = order.rank(pieces.own_cost(seen))
        for group in option.groups:
            best, *others = ((joined(one.pieces), one) for one in group)
            for found in others:
                best = found if order.beats(found[0], best[0]) else best
            total = order.join(total, best[0])
            values |= best[1].values
        return order.join(total, joined(pieces.following(values))), values


def catalogue(space: SearchSpace) -> PlanCatalogue:
    """Every plan that some architecture asks for, each once; see `PlanCatalogue`."""
    table = space.slot_table
    found: dict[str, dict[PiecePlan, None]] = {name: {} for name in space.body.names}
    heads: dict[HeadPlan, None] = {}
    known: set[tuple[str, Key, Seen]] = set()
    for stage, own in zip(space.stages, space.steps, strict=True):
        for step in own:
            if step.segment.head is not None:
                heads[step.segment.head] = None
            for node in step.segment.nodes:
                found[node.name][node.plan] = None
            for slot, key, options in table.walk(stage, step.values):
                name = stage.block_prefix(slot.index)
                seen = step.segment.flow.seen(slot.index)
                if (name, key, seen) not in known:
                    known.add((name, key, seen))
                    found[name].update(dict.fromkeys(_blocks(slot, options, seen)))
    nodes = {name: tuple(plans) for name, plans in found.items()}
    return PlanCatalogue(nodes=nodes, heads=tuple(heads), num_stages=len(space.stages))


def _blocks(slot: Slot, options: list[SlotOption], seen: Seen) -> Iterator[PiecePlan]:
    """Blocks in which every piece of these options is, in as few as possible."""
    stage = slot.stage
    groups = [group for option in options if option.present for group in option.groups]
    if not groups:
        return
    taken: dict[str, dict[Taken, None]] = {}
    for group in groups:
        for one in group:
            for role, values in one.pieces.items():
                taken.setdefault(role, {})[values] = None
    for role, names in stage.pieces.followers.items():
        there = {
            bool(v)
            for group in groups
            for one in group
            for n, v in one.values.items()
            if n in names
        }
        taken[role] = dict.fromkeys((answer,) for answer in sorted(there))
    pieces = {
        role: [stage.pieces.plan(role, values, seen) for values in own]
        for role, own in taken.items()
    }
    for number in range(max(map(len, pieces.values()))):
        chosen = {role: plans[min(number, len(plans) - 1)] for role, plans in pieces.items()}
        yield stage.block.assemble(chosen, seen)
