"""What became of given architectures, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from vitsearch.costs import human
from vitsearch.costs.metrics import percent
from vitsearch.reports.facts.transformed import End, Transformed, transitions_by_kind
from vitsearch.reports.words.figure import Figure

_SHOWN = 5  # kinds of transitions of each level
_LEVELS = {"type": "other types", "size": "other sizes"}


def transform_table(found: Sequence[Transformed], figure: Figure, num_images: int) -> Table:
    """Every given architecture above what it became."""
    table = Table(title=f"{figure.noun} before and after")
    table.add_column("architecture")
    for heading in (
        "MACs",
        "parameters",
        f"{figure.label}, search split ({num_images})",
        f"{figure.label}, test split",
    ):
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(*_row(f"{one.before.digest}, given", one.before, figure))
        if one.after.digest == one.before.digest:
            table.add_row("nothing better was found", "", "", "", "", end_section=True)
            continue
        share = percent(one.after.costs["macs"] / one.before.costs["macs"])
        name = f"{one.after.digest}, {share} of the MACs"
        table.add_row(*_row(name, one.after, figure), end_section=True)
    return table


def _row(name: str, end: End, figure: Figure) -> tuple[str, ...]:
    return (
        name,
        human(end.costs["macs"]),
        human(end.costs["params"]),
        figure.text(end.search),
        "-" if end.test is None else figure.text(end.test),
    )


def change_lines(found: Sequence[Transformed]) -> Iterator[str]:
    """What was replaced most often, types first."""
    counts = transitions_by_kind(found)
    for level, words in _LEVELS.items():
        own = [(what, number) for (of, what), number in counts.most_common() if of == level]
        if own:
            listed = ", ".join(f"{what} ({number})" for what, number in own[:_SHOWN])
            more = f", and {len(own) - _SHOWN} more" if len(own) > _SHOWN else ""
            yield f"{words}: {listed}{more}"
