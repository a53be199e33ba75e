"""Architectures by the thousand, without any network: drawing, changing, costing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import vitsearch
from benchmarks.tables import Row, Section
from benchmarks.timing import Settings, side_by_side
from vitsearch.costs import Constraint, CostModel, cost_table
from vitsearch.samplers import sample_within

SPACES = ("glit_tiny", "vit_resnas_tiny", "vitas_small", "autoformer_tiny")


def measure(settings: Settings) -> Iterator[Section]:
    """One table, a row for each task and space."""
    rows = []
    for name in settings.spaces or SPACES:
        rows += measure_space(name, settings)
    yield Section("architectures without networks", rows)


def measure_space(name: str, settings: Settings, *, scale: int = 1) -> list[Row]:
    """The tasks in one space; with `scale` that many times fewer architectures."""
    space = vitsearch.build_space(name)
    rng = random.Random(0)
    many = [space.sample(rng) for _ in range(10_000 // scale)]
    few, drawn = many[: 1000 // scale], 500 // scale
    macs = sorted(cost_table(space, few)["macs"].tolist())
    middle = macs[len(macs) // 2]
    window = Constraint(macs=(0.97 * middle, 1.03 * middle))
    model = CostModel(space)
    tasks: dict[str, Callable[[], object]] = {
        f"{drawn} within 3 % of the median MACs": lambda: sample_within(
            space, window, drawn, random.Random(1)
        ),
        f"cost of {len(many)}, as a table": lambda: cost_table(space, many),
        f"cost of {len(many)}, one by one": lambda: [model.cost(one) for one in many],
        f"{len(few)} mutations": lambda: [space.mutate(one, 0.2, rng) for one in few],
        f"{len(few)} crossovers": lambda: [
            space.crossover(one, other, rng) for one, other in zip(few, few[::-1], strict=True)
        ],
        f"{len(few)} draws, one by one": lambda: [space.sample(rng) for _ in few],
    }
    rounds = side_by_side(tasks, settings)
    return [Row(label=f"{name}: {task}", milliseconds=1000 * rounds.median(task)) for task in tasks]
