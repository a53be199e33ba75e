"""Networks of their own on the test split, as a table: the end of a retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from vitsearch.costs import human
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
    for heading in ("MACs", "parameters", *(figure.label for figure in figures)):
        table.add_column(heading, justify="right")
    for row in rows:
        shown = [figure.text(row.figures[figure.name]) for figure in figures]
        table.add_row(row.name, human(row.cost.macs), human(row.cost.params), *shown)
    return table
