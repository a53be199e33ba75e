"""Networks of their own on the test split, as a table: the end of a retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from vitsearch.costs.metrics import named
from vitsearch.reports.words.figure import Figure
from vitsearch.spaces import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """One network of a test, with its figures by name."""

    name: str
    cost: Cost
    figures: Mapping[str, float]


def network_table(rows: Sequence[NetworkRow], figures: Sequence[Figure], num_images: int) -> Table:
    """Networks of their own side by side: cost and figures on the test split."""
    table = Table(title=f"{figures[0].noun} on the test split ({num_images} images)")
    table.add_column("network")
    costs = [named(name) for name in rows[0].cost.to_dict()]
    for heading in (*(cost.heading for cost in costs), *(figure.label for figure in figures)):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = [cost.text(row.cost[cost.name]) for cost in costs]
        shown = [figure.text(row.figures[figure.name]) for figure in figures]
        table.add_row(row.name, *numbers, *shown)
    return table
