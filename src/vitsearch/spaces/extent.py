"""What holds for all architectures of a space together: how many, the ends, every piece they need.

All of it is exact. The choices fall in two: the *shared* ones (patch size, widths), which are few
and are enumerated, and those of the blocks, which are independent of each other once the shared
ones are fixed; so counts multiply and costs add up block by block. Blocks that look alike are
looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.choice import Choice, Value, assignments
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.parts.base import TokenContext, Values
from vitsearch.spaces.plan import BlockPlan, HeadPlan, PiecePlan, PlanCatalogue, StageCatalogue

if TYPE_CHECKING:
    from vitsearch.spaces.space import SearchSpace

METRICS = ("macs", "params")
Signature = tuple[object, ...]


def shared_assignments(space: SearchSpace) -> Iterator[dict[str, Value | None]]:
    """Every legal assignment of the shared choices."""
    return assignments(space.shared_choices)


def stem_plan(space: SearchSpace, values: Values) -> PiecePlan:
    """The sizes of the stem."""
    own = {c.name: values[f"stem.{c.name}"] for c in space.stem.choices()}
    plan: PiecePlan = space.stem.plan(
        own,
        image_size=space.image_size,
        in_chans=space.in_chans,
        embed_dim=int(values["stages.0.embed_dim"] or 0),
    )
    return plan


def _signature(space: SearchSpace, stage: int, slot: int) -> Signature:
    """Equal for slots of a stage with the same choices and options."""
    start = len(space.stages[stage].block_prefix(slot))
    return (stage, *((c.name[start:], c.options) for c in space.block_choices[stage][slot]))


class _Blocks:
    """Assignments of one slot's choices with their plans, looked up by what they depend on."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._known: dict[tuple[object, ...], list[tuple[Cost, dict[str, Value | None]]]] = {}

    def costs(
        self, stage: int, slot: int, shared: Values, tokens: TokenContext
    ) -> list[tuple[Cost, dict[str, Value | None]]]:
        """Cost and relative values of every assignment of a slot."""
        key = (_signature(self._space, stage, slot), tokens)
        if key not in self._known:
            self._known[key] = [
                (plan.cost(), dict(self._space.stages[stage].relative(slot, values)))
                for values, plan in _block_plans(self._space, stage, slot, shared, tokens)
            ]
        return self._known[key]


def _block_plans(
    space: SearchSpace, stage: int, slot: int, shared: Values, tokens: TokenContext
) -> Iterator[tuple[dict[str, Value | None], BlockPlan]]:
    choices: tuple[Choice, ...] = space.block_choices[stage][slot]
    for values in assignments(choices, shared):
        yield values, space.stages[stage].block_plan(slot, values, tokens)


def size(space: SearchSpace) -> int:
    """The exact number of architectures."""
    shared = sum(1 for _ in shared_assignments(space))
    counts: dict[Signature, int] = {}
    for stage, slots in enumerate(space.block_choices):
        for slot, choices in enumerate(slots):
            key = _signature(space, stage, slot)
            if key not in counts:
                counts[key] = sum(1 for _ in assignments(choices))
    return shared * prod(
        counts[_signature(space, stage, slot)]
        for stage, slots in enumerate(space.block_choices)
        for slot in range(len(slots))
    )


def extreme(space: SearchSpace, *, largest: bool, metric: str = "macs") -> Architecture:
    """The architecture with the most or fewest MACs or parameters; the other metric breaks ties."""
    assert metric in METRICS, metric
    sign = 1 if largest else -1

    def rank(cost: Cost) -> tuple[int, int]:
        first, second = cost.macs, cost.params
        return (sign * first, sign * second) if metric == "macs" else (sign * second, sign * first)

    blocks = _Blocks(space)
    best: tuple[tuple[int, int], dict[str, Value | None]] | None = None
    for shared in shared_assignments(space):
        cost = stem_plan(space, shared).cost() + space.head_plan(shared).cost(0)
        values = dict(shared)
        for stage, grid in zip(space.stages, space.grids(shared), strict=True):
            tokens = space.tokens(stage.index, shared, grid)
            for slot in range(stage.num_blocks):
                options = blocks.costs(stage.index, slot, shared, tokens)
                block_cost, own = max(options, key=lambda option: rank(option[0]))
                cost = cost + block_cost
                values.update({f"{stage.block_prefix(slot)}.{k}": v for k, v in own.items()})
        if best is None or rank(cost) > best[0]:
            best = (rank(cost), values)
    assert best is not None
    found = best[1]

    def pick(choice: Choice) -> Value:
        value = found[choice.name]
        assert value is not None, choice.name
        return value

    return space.complete(pick)


def catalogue(space: SearchSpace) -> PlanCatalogue:
    """Every piece that some architecture asks for, each once."""
    stems: dict[PiecePlan, None] = {}
    heads: dict[HeadPlan, None] = {}
    blocks: list[list[dict[BlockPlan, None]]] = [
        [{} for _ in range(stage.num_blocks)] for stage in space.stages
    ]
    seen: set[tuple[int, TokenContext]] = set()
    for shared in shared_assignments(space):
        stems[stem_plan(space, shared)] = None
        heads[space.head_plan(shared)] = None
        for stage, grid in zip(space.stages, space.grids(shared), strict=True):
            tokens = space.tokens(stage.index, shared, grid)
            if (stage.index, tokens) in seen:
                continue
            seen.add((stage.index, tokens))
            for slot in range(stage.num_blocks):
                found = _block_plans(space, stage.index, slot, shared, tokens)
                blocks[stage.index][slot].update(dict.fromkeys(plan for _, plan in found))
    return PlanCatalogue(
        stems=tuple(stems),
        stages=tuple(
            StageCatalogue(transitions=(), blocks=tuple(tuple(slot) for slot in stage))
            for stage in blocks
        ),
        heads=tuple(heads),
    )
