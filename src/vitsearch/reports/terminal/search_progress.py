"""How a search shows where it stands: a live bar in a terminal, a line a generation elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vitsearch.reports.words.figure import TOP1, Figure


class SearchProgress:
    """Told of every few candidates and of every generation; shows them on the first process."""

    def __init__(self, total: int, console: Console | None, figure: Figure = TOP1) -> None:
        """Start.

        Args:
            total: Candidates of the whole search.
            console: Where to show; `None` shows nothing.
            figure: What is scored.
        """
        self._console = console
        self._figure = figure
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]search[/] {task.fields[status]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task("search", total=total, status="")
        self._total = total
        self._started = time.monotonic()
        self._done = 0
        self._skipped = 0

    def skip(self, candidates: int) -> None:
        """So many candidates were scored before an interruption."""
        self._done = self._skipped = candidates
        if candidates and self._console is not None:
            self._console.print(
                f"going on with the search after {candidates} candidates", highlight=False
            )

    def __enter__(self) -> SearchProgress:
        self._started = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, generation: int, done: int, best: float) -> None:
        """Some more candidates are scored; `best` is the best score so far."""
        self._done = done
        if self._bar is not None:
            status = (
                f"generation {generation}, best {self._figure.text(best)}, {self._rate():.1f}/s"
            )
            self._bar.update(self._task, completed=done, status=status)
        self._best = best

    def generation_done(self, generation: int, scores: Sequence[float]) -> None:
        """A generation is scored."""
        if self._console is None:
            return
        rate, shown = self._rate(), self._figure.text
        left = (self._total - self._done) / rate if rate else 0.0
        self._console.print(
            f"generation {generation}: {len(scores)} candidates, median {shown(median(scores))}, "
            f"best so far {shown(self._best)}, {rate:.1f} candidates/s, {left:.0f} s left",
            highlight=False,
        )

    def _rate(self) -> float:
        return (self._done - self._skipped) / max(time.monotonic() - self._started, 1e-9)
