"""The front of a search for several objectives as a table, the cheapest network first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rich.table import Table

from vitsearch.costs.metrics import costs_of, named
from vitsearch.reports.words.figure import TOP1, Figure

_MOST_ROWS = 20
Record = TypeVar("Record")


def front_table(
    records: Sequence[Mapping[str, Any]],
    minimise: Sequence[str],
    num_images: int,
    figure: Figure = TOP1,
) -> Table:
    """Costs and scores along a front; of a long one evenly spaced rows, both ends among them.

    Args:
        records: Lines of the history, from cheap to accurate.
        minimise: The costs that were minimised.
        num_images: How many images the scores rest on.
        figure: What is scored.
    """
    shown = evenly(records)
    hidden = len(records) - len(shown)
    table = Table(
        title=f"front of {figure.label} and {', '.join(minimise)}: {len(records)} networks",
        caption=f"{hidden} more between these in search/front.json" if hidden else None,
    )
    table.add_column("architecture")
    costs = [named(name) for name in costs_of(records[0])] if records else []
    for cost in costs:
        table.add_column(cost.heading, justify="right")
    table.add_column(f"{figure.label}, search split ({num_images})", justify="right")
    for record in shown:
        table.add_row(
            record["digest"],
            *(cost.text(record[cost.name]) for cost in costs),
            figure.text(record[figure.name]),
        )
    return table


def evenly(records: Sequence[Record]) -> list[Record]:
    """All of them, or of many 20 that are evenly spaced, both ends among them."""
    if len(records) <= _MOST_ROWS:
        return list(records)
    last = len(records) - 1
    return [records[round(row * last / (_MOST_ROWS - 1))] for row in range(_MOST_ROWS)]
