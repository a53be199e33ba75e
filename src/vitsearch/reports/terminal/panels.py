"""What a command prints at its start and at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vitsearch.costs import Constraint, human, reachable_range
from vitsearch.costs.metrics import TOP1, named
from vitsearch.reports.words.architecture import describe_architecture
from vitsearch.spaces import Architecture, Cost, SearchSpace


def make_console() -> Console:
    """A console that never cuts a command short where the output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160, soft_wrap=True)


def size_in_words(size: int) -> str:
    """A number of architectures as a power of ten; exact where it is small."""
    return str(size) if size < 10_000 else f"10^{math.log10(size):.1f}"


def start_panel(
    space: SearchSpace, *, num_classes: int, constraint: Constraint, facts: Mapping[str, str]
) -> Panel:
    """The space, its size and range, the budget, and whatever else the command knows.

    Args:
        space: What is searched.
        num_classes: Of the classifier, whose cost counts.
        constraint: The budget.
        facts: More lines, by name.
    """
    low, high = reachable_range(space, "macs", num_classes)
    first = {
        "space": f"{space.name}, {size_in_words(space.size())} architectures",
        "MACs": f"{human(low)} to {human(high)}",
        "budget": str(constraint),
    }
    return facts_panel({**first, **facts})


def facts_panel(facts: Mapping[str, str], *, title: str = "vitsearch") -> Panel:
    """Facts by name, a line each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    return Panel(table, title=title, title_align="left", expand=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One network of the end table; accuracies in [0, 1]."""

    name: str
    digest: str
    cost: Cost
    search_top1: float
    test_top1: float | None


def end_table(rows: Sequence[ResultRow], num_images: int) -> Table:
    """Networks side by side: cost, accuracy with inherited weights on both splits."""
    table = Table(title="inherited accuracy (weights of the supernet, not retrained)")
    table.add_column("network")
    costs = [named(name) for name in rows[0].cost.to_dict()]
    scores = [f"{TOP1.label}, search split ({num_images})", f"{TOP1.label}, test split"]
    for heading in (*(cost.heading for cost in costs), *scores):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            *(cost.text(row.cost[cost.name]) for cost in costs),
            TOP1.text(row.search_top1),
            "-" if row.test_top1 is None else TOP1.text(row.test_top1),
        )
    return table


def result_record(rows: Sequence[ResultRow], num_images: int) -> dict[str, Any]:
    """The same as plain data."""
    networks = [
        {
            "name": row.name,
            "digest": row.digest,
            **row.cost.to_dict(),
            "search_top1": row.search_top1,
            "test_top1": row.test_top1,
        }
        for row in rows
    ]
    return {"num_images": num_images, "networks": networks}


def architecture_panel(
    space: SearchSpace, architecture: Architecture, *, title: str | None = None
) -> Panel:
    """An architecture in words, by default the one that a search has found."""
    lines = describe_architecture(space, architecture)
    title = title or f"best architecture {architecture.digest}"
    return Panel(Text("\n".join(lines)), title=title, title_align="left", expand=False)
