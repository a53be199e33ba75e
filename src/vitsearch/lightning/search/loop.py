"""A search from the first candidate to the files it leaves: history, best architecture, model.

The callback `EvolutionarySearch` runs it after training, `python -m vitsearch.search` from a
checkpoint. Every process runs the same searcher; the candidates of a generation are shared by the
processes, and counts are added up, so the history does not depend on their number.

A search that was interrupted goes on: the searcher is asked again from the start and told the
scores that the history holds, and only the others are computed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from vitsearch.costs import Constraint, Cost, CostModel
from vitsearch.lightning.distributed import leave_if_wished, rank_and_world
from vitsearch.lightning.resuming.timing import Stopwatch
from vitsearch.lightning.scoring.distributed import TurnLength, score_together
from vitsearch.lightning.scoring.halving import Halving
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.fingerprint import search_settings
from vitsearch.lightning.search.history import History
from vitsearch.lightning.search.measurements import Measurements, is_measured
from vitsearch.lightning.search.result import (
    Scored,
    SearchResult,
    best_of,
    front_of,
    write_result,
)
from vitsearch.lightning.tasks import Task
from vitsearch.reports.terminal.search_progress import SearchProgress
from vitsearch.runs import signals
from vitsearch.runs.history import first_difference, parse_record
from vitsearch.searchers import Candidate, FrontSearcher, Searcher
from vitsearch.supernet.storage.model_folder import checked_class_names
from vitsearch.supernet.timm.preprocessing import checked_preprocessing


def run_search(
    scorer: Scorer,
    searcher: Searcher,
    folder: Path,
    *,
    constraint: Constraint,
    progress: SearchProgress,
    class_names: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    halving: bool = False,
    measurements: Measurements | None = None,
) -> SearchResult:
    """Search, and write the history, the best architecture and its network into a run folder.

    Args:
        scorer: Says how good an architecture is.
        searcher: Says what to try.
        folder: The run folder.
        constraint: The budget, for the record.
        progress: Told of every generation.
        class_names: Written beside the network.
        preprocessing: What the network expects of images, written beside it; see
            `vitsearch.data.preprocessing_of`.
        halving: Whether the worse half of a generation is given up on a part of the images.
        measurements: What measures for the searcher, if anything does.

    Raises:
        ConfigError: Halving does not go with the searcher; or names or preprocessing do not fit
            the network.
        HistoryError: The folder has the history of another search, or a damaged one.
        Interrupted: An end was wished; all scores so far are in the history.
    """
    net = scorer.net
    if class_names is not None:
        class_names = checked_class_names(class_names, net.num_classes)
    preprocessing = checked_preprocessing(preprocessing or {}, net.space.in_chans)
    model = CostModel(net.space, net.num_classes)
    turns = TurnLength()
    rungs = Halving(scorer, searcher) if halving else None
    settings = search_settings(scorer, searcher)
    if rungs is not None:
        settings["halving"] = True
    if measurements is not None and is_measured(searcher, constraint):
        found = measurements.circumstances().items()
        settings |= {f"measured.{name}": value for name, value in found}
    file = History.open(folder, settings)
    known = file.known
    progress.skip(len(known))
    watch = Stopwatch(
        folder, "search", scorer.device, goes_on=bool(known), first_candidate=len(known)
    )
    history: list[Scored] = []
    started = time.monotonic()
    with progress, signals.deferred():
        while candidates := searcher.ask():
            done = len(history)
            for candidate in candidates[: max(len(known) - done, 0)]:
                cost = model.cost(candidate.architecture)
                total = None if halving else scorer.num_images
                place = len(history)
                history.append(_recall(scorer.task, candidate, cost, place, total, file))
            todo = candidates[len(history) - done :]
            if rungs is not None and todo:
                history[done:] = _halved(rungs, candidates, history[done:], model, file)
                best = max(one.score.value for one in history if rungs.is_whole(one.score))
                progress.update(candidates[0].generation, len(history), best)
            left = list(todo) if rungs is None else []
            while left:
                watch.lap_at_times(last_candidate=len(history))
                leave_if_wished(scorer.device)
                length = turns.next()
                turn, left = left[:length], left[length:]
                scores = score_together(scorer, [candidate.architecture for candidate in turn])
                scored = [
                    Scored(candidate=c, score=s, cost=model.cost(c.architecture))
                    for c, s in zip(turn, scores, strict=True)
                ]
                file.append([one.line() for one in scored])
                history += scored
                best = max(one.score.value for one in history)
                progress.update(candidates[0].generation, len(history), best)
            values = [one.score.value for one in history[done:]]
            searcher.tell(
                values if rungs is None else rungs.told([s.score for s in history[done:]])
            )
            if todo:
                progress.generation_done(candidates[0].generation, values)
                watch.lap(last_candidate=len(history))
    if len(known) > len(history):
        raise file.foreign(f"it has {len(known)} candidates, this search {len(history)}")
    first = [one.score.value for one in history if one.candidate.generation == 0]
    whole = [one for one in history if one.score.total == scorer.num_images]  # not given up early
    front = front_of(history, searcher)
    result = SearchResult(
        history=tuple(history),
        best=best_of(front or whole),
        random_median=median(first),
        num_recalled=len(known),
        seconds=time.monotonic() - started,
        front=front,
        minimise=searcher.minimise if isinstance(searcher, FrontSearcher) else (),
    )
    if rank_and_world()[0] == 0:
        write_result(
            scorer,
            result,
            folder,
            constraint,
            class_names=class_names,
            preprocessing=preprocessing,
        )
    return result


def _halved(
    rungs: Halving,
    candidates: Sequence[Candidate],
    before: Sequence[Scored],
    model: CostModel,
    file: History,
) -> list[Scored]:
    """A generation scored by halving; what an earlier start has left of it must agree."""
    scores = rungs.score([candidate.architecture for candidate in candidates])
    scored = [
        Scored(candidate=c, score=s, cost=model.cost(c.architecture))
        for c, s in zip(candidates, scores, strict=True)
    ]
    for old, new in zip(before, scored, strict=False):
        if old != new:
            raise file.foreign(f"{new.candidate.architecture.digest} has another score")
    file.append([one.line() for one in scored[len(before) :]])
    return scored


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
