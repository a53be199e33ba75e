"""How a search shows where it stands: a live bar in a terminal, a line a generation elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_CHUNK = 10  # candidates between two updates of the bar


class SearchProgress:
    """Told of every few candidates and of every generation; shows them on the first process.

    Attributes:
        chunk: How many candidates to score between updates.
    """

    def __init__(self, total: int, console: Console | None, *, processes: int = 1) -> None:
        """Start.

        Args:
            total: Candidates of the whole search.
            console: Where to show; `None` shows nothing.
            processes: Processes that score at the same time.
        """
        self.chunk = max(_CHUNK, processes)
        self._console = console
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

    def __enter__(self) -> SearchProgress:
        self._started = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, generation: int, done: int, best: float) -> None:
        """Some more candidates are scored; `best` is the best top-1 so far, in [0, 1]."""
        self._done = done
        if self._bar is not None:
            status = f"generation {generation}, best {100 * best:.1f} %, {self._rate():.1f}/s"
            self._bar.update(self._task, completed=done, status=status)
        self._best = best

    def generation_done(self, generation: int, top1: Sequence[float]) -> None:
        """A generation is scored; `top1` are its accuracies."""
        if self._console is None:
            return
        rate = self._rate()
        left = (self._total - self._done) / rate if rate else 0.0
        self._console.print(
            f"generation {generation}: {len(top1)} candidates, median {100 * median(top1):.1f} %, "
            f"best so far {100 * self._best:.1f} %, {rate:.1f} candidates/s, {left:.0f} s left",
            highlight=False,
        )

    def _rate(self) -> float:
        return self._done / max(time.monotonic() - self._started, 1e-9)
