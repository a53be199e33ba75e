"""What a part of the suite found: rows under a title, printed as a table and kept for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from benchmarks.timing import Ratio, Rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured thing.

    Attributes:
        label: What.
        milliseconds: The median; `None` where nothing was timed.
        ratios: Beside what, by what it is measured against.
        more: Further figures, by name.
    """

    label: str
    milliseconds: float | None = None
    ratios: dict[str, Ratio] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """A table."""

    title: str
    rows: list[Row]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"title": self.title, "rows": [asdict(row) for row in self.rows]}

    def print_on(self, console: Console) -> None:
        """A column for every ratio and every further figure that some row has."""
        ratios = list(dict.fromkeys(name for row in self.rows for name in row.ratios))
        more = list(dict.fromkeys(name for row in self.rows for name in row.more))
        table = Table(title=self.title, title_justify="left")
        table.add_column("", overflow="fold")
        for heading in ("median ms", *(f"x {name}" for name in ratios), *more):
            table.add_column(heading, justify="right")
        for row in self.rows:
            time = "" if row.milliseconds is None else f"{row.milliseconds:.1f}"
            cells = [_ratio(row.ratios.get(name)) for name in ratios]
            table.add_row(row.label, time, *cells, *(row.more.get(name, "") for name in more))
        console.print(table)


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.3f} ({ratio.low:.2f} to {ratio.high:.2f})"


def rows_of(rounds: Rounds, references: Sequence[str]) -> list[Row]:
    """A row for every candidate, beside those of the references that were timed."""
    known = [name for name in references if name in rounds.seconds]
    return [
        Row(
            label=name,
            milliseconds=1000 * rounds.median(name),
            ratios={other: rounds.ratio(name, other) for other in known if other != name},
        )
        for name in rounds.seconds
    ]
