"""A search from the first candidate to the files it leaves: history, best architecture, model.

The callback `EvolutionarySearch` runs it after training, `python -m vitsearch.search` from a
checkpoint. Every process runs the same searcher; the candidates of a generation are shared by the
processes, and counts are added up, so the history does not depend on their number.

A search that was interrupted goes on: the searcher is asked again from the start and told the
scores that the history holds, and only the others are computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from vitsearch.costs import Cost, CostModel
from vitsearch.lightning.distributed import leave_if_wished, rank_and_world
from vitsearch.lightning.resuming.timing import Stopwatch
from vitsearch.lightning.scoring.distributed import TurnLength, score_together
from vitsearch.lightning.scoring.halving import Halving
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.fingerprint import search_settings
from vitsearch.lightning.search.history import History
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.measurements import is_measured
from vitsearch.lightning.search.result import (
    Scored,
    SearchResult,
    best_of,
    front_of,
    write_result,
)
from vitsearch.lightning.tasks import Score, Task
from vitsearch.reports.terminal.search_progress import SearchProgress
from vitsearch.runs import signals
from vitsearch.runs.history import first_difference, parse_record
from vitsearch.searchers import Candidate, FrontSearcher


def run_search(
    job: SearchJob,
    progress: SearchProgress,
    *,
    choose: Callable[[Sequence[Scored]], Scored] = best_of,
) -> SearchResult:
    """Search, and write the history, the best architecture and its network into the run folder.

    Args:
        job: The search.
        progress: Shows every generation.
        choose: Says which candidate is the best, of those on the front or of all that were scored
            on all images.

    Raises:
        ConfigError: Halving does not go with the searcher.
        HistoryError: The folder has the history of another search, or a damaged one.
        Interrupted: An end was wished; all scores so far are in the history.
    """
    scorer, searcher = job.scorer, job.searcher
    model = CostModel(scorer.net.space, scorer.net.num_classes)
    rungs = Halving(scorer, searcher) if job.halving else None
    file = History.open(job.folder, _settings(job))
    known = file.known
    progress.skip(len(known))
    watch = Stopwatch(
        job.folder, "search", scorer.device, goes_on=bool(known), first_candidate=len(known)
    )
    score = _InTurns(scorer, watch) if rungs is None else _ByHalving(rungs, file)
    history: list[Scored] = []
    started = time.monotonic()
    with progress, signals.deferred():
        while candidates := searcher.ask():
            done = len(history)
            for candidate in candidates[: max(len(known) - done, 0)]:
                cost = model.cost(candidate.architecture)
                total = None if job.halving else scorer.num_images
                place = len(history)
                history.append(_recall(scorer.task, candidate, cost, place, total, file))
            todo = candidates[len(history) - done :]
            for scores in score(candidates, history[done:], done) if todo else ():
                scored = [
                    Scored(candidate=c, score=s, cost=model.cost(c.architecture))
                    for c, s in zip(candidates[len(history) - done :], scores, strict=False)
                ]
                file.append([one.line() for one in scored])
                history += scored
                best = max(one.score.value for one in history if scorer.is_whole(one.score))
                progress.update(candidates[0].generation, len(history), best)
            found = [one.score for one in history[done:]]
            searcher.tell([s.value if scorer.is_whole(s) else None for s in found])
            if todo:
                progress.generation_done(candidates[0].generation, [s.value for s in found])
                watch.lap(last_candidate=len(history))
    if len(known) > len(history):
        raise file.foreign(f"it has {len(known)} candidates, this search {len(history)}")
    first = [
        one.score.value
        for one in history
        if one.candidate.generation == 0 and one.candidate.origin != "shrinking"
    ]
    whole = [one for one in history if scorer.is_whole(one.score)]
    front = front_of(history, searcher)
    result = SearchResult(
        history=tuple(history),
        best=choose(front or whole),
        random_median=median(first) if first else None,
        num_recalled=len(known),
        seconds=time.monotonic() - started,
        front=front,
        minimise=searcher.minimise if isinstance(searcher, FrontSearcher) else (),
    )
    if rank_and_world()[0] == 0:
        write_result(job, result)
    return result


def _settings(job: SearchJob) -> dict[str, Any]:
    """All that the history depends on, by name."""
    settings = search_settings(job.scorer, job.searcher)
    if job.halving:
        settings["halving"] = True
    if job.measurements is not None and is_measured(job.searcher, job.constraint):
        found = job.measurements.circumstances().items()
        settings |= {f"measured.{name}": value for name, value in found}
    return settings


class _InTurns:
    """Scores the rest of a generation a few candidates at a time."""

    def __init__(self, scorer: Scorer, watch: Stopwatch) -> None:
        self._scorer, self._watch = scorer, watch
        self._turns = TurnLength()

    def __call__(
        self, candidates: Sequence[Candidate], before: Sequence[Scored], done: int
    ) -> Iterator[list[Score]]:
        """Scores of the candidates behind those that an earlier start has scored.

        Args:
            candidates: The generation.
            before: What an earlier start has left of it.
            done: How many candidates the generations before it had.
        """
        start = len(before)
        while start < len(candidates):
            self._watch.lap_at_times(last_candidate=done + start)
            leave_if_wished(self._scorer.device)
            turn = candidates[start : start + self._turns.next()]
            yield score_together(self._scorer, [candidate.architecture for candidate in turn])
            start += len(turn)


class _ByHalving:
    """Scores a generation as a whole; what an earlier start has left of it must agree."""

    def __init__(self, rungs: Halving, file: History) -> None:
        self._rungs, self._file = rungs, file

    def __call__(
        self, candidates: Sequence[Candidate], before: Sequence[Scored], done: int
    ) -> Iterator[list[Score]]:
        """See `_InTurns`."""
        scores = self._rungs.score([candidate.architecture for candidate in candidates])
        for old, new in zip(before, scores, strict=False):
            if old.score != new:
                digest = old.candidate.architecture.digest
                raise self._file.foreign(f"{digest} has another score")
        yield scores[len(before) :]


def _recall(
    task: Task, candidate: Candidate, cost: Cost, place: int, total: int | None, file: History
) -> Scored:
    """The candidate with the score that the history holds; all of its line must agree."""
    found = file.known[place]
    score = task.recall({**found.counts, "total": found.total}, total)
    if score is None:
        raise file.foreign(f"line {place + 1} has no score of the task {task.name}")
    scored = Scored(candidate=candidate, score=score, cost=cost)
    difference = first_difference(found, parse_record(scored.record(), file.names))
    if difference is None:
        return scored
    raise file.foreign(f"line {place + 1} {difference}")
