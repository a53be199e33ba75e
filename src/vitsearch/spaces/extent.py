"""What holds for all architectures of a space together: how many, the ends, every piece they need.

All of it is exact. The choices fall in two: the *shared* ones (patch size, widths, depths), which
are few and are enumerated, and those of the blocks, which depend on little else once the shared
ones are fixed; so counts multiply and costs add up slot by slot (see `slots.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.bodies.slots import Key, Slot, SlotOption, SlotTable, State
from vitsearch.spaces.choice import Choice, Value, assignments
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Shape
from vitsearch.spaces.parts.base import Values
from vitsearch.spaces.plan import HeadPlan, PiecePlan, PlanCatalogue

if TYPE_CHECKING:
    from vitsearch.spaces.space import SearchSpace

METRICS = ("macs", "params")
Rank = tuple[int, int]
Chosen = dict[str, Value | None]


def shared_assignments(space: SearchSpace) -> Iterator[dict[str, Value | None]]:
    """Every legal assignment of the shared choices."""
    return assignments(space.shared_choices)


def size(space: SearchSpace) -> int:
    """The exact number of architectures."""
    table = space.slot_table
    counts: dict[tuple[object, ...], int] = {}
    total = 0
    for shared in shared_assignments(space):
        product = 1
        for stage in space.stages:
            key = tuple(slot.key(shared) for slot in table.stages[stage.index])
            if key not in counts:
                counts[key] = _count(table, stage.index, shared)
            product *= counts[key]
        total += product
    return total


def _count(table: SlotTable, stage: int, shared: Values) -> int:
    states: dict[State, int] = {(): 1}
    for slot in table.stages[stage]:
        following: dict[State, int] = {}
        for state, ways in states.items():
            _, options = table.options(slot, {**shared, **dict(state)})
            for option in options:
                after = table.state_after(slot, state, option)
                following[after] = following.get(after, 0) + ways
        states = following
    return sum(states.values())


def extreme(space: SearchSpace, *, largest: bool, metric: str = "macs") -> Architecture:
    """The architecture with the most or fewest MACs or parameters; the other metric breaks ties."""
    assert metric in METRICS, metric
    sign = 1 if largest else -1

    def rank(cost: Cost) -> Rank:
        first, second = cost.macs, cost.params
        return (sign * first, sign * second) if metric == "macs" else (sign * second, sign * first)

    ends = _Ends(space.slot_table, rank)
    best: tuple[Rank, Values, list[tuple[Slot, SlotOption]]] | None = None
    for shared in shared_assignments(space):
        total = rank(space.body.frame(shared).cost(0))
        chosen: list[tuple[Slot, SlotOption]] = []
        for stage, shape in zip(space.stages, space.body.shapes(shared), strict=True):
            stage_rank, stage_chosen = ends.of_stage(stage.index, shared, shape)
            total = _add(total, stage_rank)
            chosen += stage_chosen
        if best is None or total > best[0]:
            best = (total, shared, chosen)
    assert best is not None
    found: Chosen = dict(best[1])
    for slot, option in best[2]:
        prefix = slot.stage.block_prefix(slot.index)
        found.update({f"{prefix}.{name}": value for name, value in option.values.items()})

    def pick(choice: Choice) -> Value:
        value = found[choice.name]
        assert value is not None, choice.name
        return value

    return space.complete(pick)


def _add(first: Rank, second: Rank) -> Rank:
    return first[0] + second[0], first[1] + second[1]


class _Ends:
    """The best way through the slots of a stage, by a rank that adds up."""

    def __init__(self, table: SlotTable, rank: Callable[[Cost], Rank]) -> None:
        self._table = table
        self._rank = rank
        self._best: dict[Key, dict[State, tuple[Rank, SlotOption]]] = {}

    def of_stage(
        self, stage: int, shared: Values, shape: Shape
    ) -> tuple[Rank, list[tuple[Slot, SlotOption]]]:
        states: dict[State, tuple[Rank, list[tuple[Slot, SlotOption]]]] = {(): ((0, 0), [])}
        for slot in self._table.stages[stage]:
            following: dict[State, tuple[Rank, list[tuple[Slot, SlotOption]]]] = {}
            for state, (so_far, chosen) in states.items():
                for after, (rank, option) in self._of_slot(slot, state, shared, shape).items():
                    total = _add(so_far, rank)
                    if after not in following or total > following[after][0]:
                        following[after] = (total, [*chosen, (slot, option)])
            states = following
        return max(states.values(), key=lambda found: found[0])

    def _of_slot(
        self, slot: Slot, state: State, shared: Values, shape: Shape
    ) -> dict[State, tuple[Rank, SlotOption]]:
        """For each state that the slot can lead to, its best option."""
        table = self._table
        key, options = table.options(slot, {**shared, **dict(state)})
        linked = bool(table.state_after(slot, state, options[0]))
        known = (key, shape, slot.index if linked else None, state)
        if known not in self._best:
            best: dict[State, tuple[Rank, SlotOption]] = {}
            for option in options:
                after = table.state_after(slot, state, option)
                rank = self._rank(table.block_cost(slot.stage, option, shape))
                if after not in best or rank > best[after][0]:
                    best[after] = (rank, option)
            self._best[known] = best
        return self._best[known]


def catalogue(space: SearchSpace) -> PlanCatalogue:
    """Every plan that some architecture asks for, each once; see `PlanCatalogue`."""
    table = space.slot_table
    found: dict[str, dict[PiecePlan, None]] = {}
    heads: dict[HeadPlan, None] = {}
    seen: set[tuple[str, Key, Shape]] = set()
    for shared in shared_assignments(space):
        frame = space.body.frame(shared)
        heads[frame.head] = None
        for name in space.body.names:
            found.setdefault(name, {})
        for node in frame.nodes:
            found[node.name][node.plan] = None
        for stage, shape in zip(space.stages, frame.stage_shapes, strict=True):
            for slot, key, options in table.walk(stage, shared):
                name = stage.block_prefix(slot.index)
                if (name, key, shape) not in seen:
                    seen.add((name, key, shape))
                    found[name].update(dict.fromkeys(_blocks(table, slot, options, shape)))
    nodes = {name: tuple(plans) for name, plans in found.items()}
    return PlanCatalogue(nodes=nodes, heads=tuple(heads), num_stages=len(space.stages))


def _blocks(
    table: SlotTable, slot: Slot, options: list[SlotOption], shape: Shape
) -> Iterator[PiecePlan]:
    """Blocks in which every piece of these options is, in as few as possible."""
    stage = slot.stage
    present = [option.pieces for option in options if option.present]
    if not present:
        return
    pieces = {
        role: [
            table.piece(stage, role, values, shape)[0]
            for values in dict.fromkeys(option[role] for option in present)
        ]
        for role in present[0]
    }
    for number in range(max(map(len, pieces.values()))):
        chosen = {role: plans[min(number, len(plans) - 1)] for role, plans in pieces.items()}
        yield stage.block.assemble(chosen, shape)
