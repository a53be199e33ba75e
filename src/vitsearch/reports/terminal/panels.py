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
from vitsearch.costs.metrics import named
from vitsearch.reports.words.architecture import describe_architecture
from vitsearch.reports.words.figure import TOP1, Figure
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
    """One network of the end table, with its score on two splits."""

    name: str
    digest: str
    cost: Cost
    search: float
    test: float | None


def end_table(rows: Sequence[ResultRow], num_images: int, figure: Figure = TOP1) -> Table:
    """Networks side by side: cost, score with inherited weights on both splits."""
    table = Table(title=f"inherited {figure.noun} (weights of the supernet, not retrained)")
    table.add_column("network")
    costs = [named(name) for name in rows[0].cost.to_dict()]
    scores = [f"{figure.label}, search split ({num_images})", f"{figure.label}, test split"]
    for heading in (*(cost.heading for cost in costs), *scores):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            *(cost.text(row.cost[cost.name]) for cost in costs),
            figure.text(row.search),
            "-" if row.test is None else figure.text(row.test),
        )
    return table


def result_record(
    rows: Sequence[ResultRow], num_images: int, figure: Figure = TOP1
) -> dict[str, Any]:
    """The same as plain data."""
    networks = [
        {
            "name": row.name,
            "digest": row.digest,
            **row.cost.to_dict(),
            f"search_{figure.name}": row.search,
            f"test_{figure.name}": row.test,
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
