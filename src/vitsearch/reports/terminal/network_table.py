"""Networks of their own on the test split, as a table: the end of a retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from vitsearch.costs.metrics import named, percent
from vitsearch.spaces import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """One network of a test; `top` has accuracies in [0, 1] by k."""

    name: str
    cost: Cost
    top: Mapping[int, float]


def network_table(rows: Sequence[NetworkRow], num_images: int) -> Table:
    """Networks of their own side by side: cost and accuracy on the test split."""
    table = Table(title=f"accuracy on the test split ({num_images} images)")
    table.add_column("network")
    ks = list(rows[0].top)
    costs = [named(name) for name in rows[0].cost.to_dict()]
    for heading in (*(cost.heading for cost in costs), *(f"top-{k}" for k in ks)):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = [cost.text(row.cost[cost.name]) for cost in costs]
        table.add_row(row.name, *numbers, *(percent(row.top[k]) for k in ks))
    return table
