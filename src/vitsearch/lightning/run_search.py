"""A search from the first candidate to the files it leaves: history, best architecture, model.

The callback `EvolutionarySearch` runs it after training, `python -m vitsearch.search` from a
checkpoint. Every process runs the same searcher; the candidates of a generation are scored by the
processes in turn, and the counts are added up, so the history does not depend on their number.

A search that was interrupted goes on: the searcher is asked again from the start and told the
scores that the history holds, and only the others are computed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vitsearch import stopping
from vitsearch.costs import Constraint, Cost, CostModel
from vitsearch.files import write_json
from vitsearch.lightning.history import History
from vitsearch.lightning.processes import (
    largest_over_processes,
    rank_and_world,
    sum_over_processes,
)
from vitsearch.lightning.scoring import Score, Scorer
from vitsearch.lightning.search_settings import search_settings
from vitsearch.reports.progress import SearchProgress
from vitsearch.searchers import Candidate, Searcher
from vitsearch.spaces import Architecture
from vitsearch.supernet import save_model

BEST_FILE = Path("search") / "best.json"
BEST_FOLDER = Path("best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A candidate with its score and cost."""

    candidate: Candidate
    score: Score
    cost: Cost

    def record(self) -> dict[str, Any]:
        """One line of the history."""
        return {
            "digest": self.candidate.architecture.digest,
            "generation": self.candidate.generation,
            "origin": self.candidate.origin,
            "parents": list(self.candidate.parents),
            "top1": self.score.top1,
            "correct": self.score.correct,
            "total": self.score.total,
            "macs": self.cost.macs,
            "params": self.cost.params,
            "architecture": self.candidate.architecture.to_dict(),
        }

    def line(self) -> str:
        """The same as text."""
        return json.dumps(self.record())


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        history: All candidates, in the order in which they were proposed.
        best: The best score; of equals the cheapest.
        random_median: Median top-1 of the random first generation: what luck gives.
        num_recalled: How many scores an interrupted search had left.
        seconds: How long scoring the others took.
    """

    history: tuple[Scored, ...]
    best: Scored
    random_median: float
    num_recalled: int
    seconds: float

    @property
    def num_first(self) -> int:
        """Random architectures that `random_median` rests on."""
        return sum(scored.candidate.generation == 0 for scored in self.history)


def score_in_turn(scorer: Scorer, architectures: Sequence[Architecture]) -> list[Score]:
    """The scores of architectures, each computed by one process, known to all.

    Process r of n scores architectures r, r + n, r + 2n, ...
    """
    rank, world = rank_and_world()
    correct = torch.zeros(len(architectures), dtype=torch.int64, device=scorer.device)
    for index in range(rank, len(architectures), world):
        correct[index] = scorer.score(architectures[index]).correct
    counts = sum_over_processes(correct).tolist()
    return [Score(correct=count, total=scorer.num_images) for count in counts]


def run_search(
    scorer: Scorer,
    searcher: Searcher,
    folder: Path,
    *,
    constraint: Constraint,
    progress: SearchProgress,
    class_names: Sequence[str] | None = None,
) -> SearchResult:
    """Search, and write the history, the best architecture and its network into a run folder.

    Args:
        scorer: Says how good an architecture is.
        searcher: Says what to try.
        folder: The run folder.
        constraint: The budget, for the record.
        progress: Told of every generation.
        class_names: Written beside the network.

    Raises:
        HistoryError: The folder has the history of another search, or a damaged one.
        Interrupted: An end was wished; all scores so far are in the history.
    """
    model = CostModel(scorer.net.space, scorer.net.num_classes)
    world = rank_and_world()[1]
    file = History.open(folder, search_settings(scorer, searcher))
    known = list(file.lines)
    progress.skip(len(known))
    history: list[Scored] = []
    started = time.monotonic()
    with progress, stopping.deferred():
        while candidates := searcher.ask():
            done = len(history)
            for candidate in candidates[: max(len(known) - done, 0)]:
                cost = model.cost(candidate.architecture)
                history.append(_recall(candidate, cost, known[len(history)], scorer, file))
            todo = candidates[len(history) - done :]
            for start in range(0, len(todo), world):
                _leave_if_wished(scorer.device)
                turn = todo[start : start + world]
                scores = score_in_turn(scorer, [candidate.architecture for candidate in turn])
                scored = [
                    Scored(candidate=c, score=s, cost=model.cost(c.architecture))
                    for c, s in zip(turn, scores, strict=True)
                ]
                file.append([one.line() for one in scored])
                history += scored
                best = max(one.score.top1 for one in history)
                progress.update(candidates[0].generation, len(history), best)
            top1 = [one.score.top1 for one in history[done:]]
            searcher.tell(top1)
            if todo:
                progress.generation_done(candidates[0].generation, top1)
    if len(known) > len(history):
        raise file.foreign(f"it has {len(known)} candidates, this search {len(history)}")
    first = [s.score.top1 for s in history if s.candidate.generation == 0]
    result = SearchResult(
        history=tuple(history),
        best=min(history, key=_rank),
        random_median=median(first),
        num_recalled=len(known),
        seconds=time.monotonic() - started,
    )
    if rank_and_world()[0] == 0:
        _write_best(scorer, result, folder, constraint, class_names)
    return result


def _recall(candidate: Candidate, cost: Cost, line: str, scorer: Scorer, file: History) -> Scored:
    """The candidate with the score that the history holds; its whole line must agree."""
    correct = json.loads(line).get("correct")
    if isinstance(correct, int):
        score = Score(correct=correct, total=scorer.num_images)
        scored = Scored(candidate=candidate, score=score, cost=cost)
        if scored.line() == line:
            return scored
    raise file.foreign(f"{line[:24]}... is not {candidate.architecture.digest}, proposed now")


def _leave_if_wished(device: torch.device) -> None:
    """End if any process was asked to."""
    wish = torch.tensor([stopping.wished()], dtype=torch.int64, device=device)
    signum = int(largest_over_processes(wish))
    if signum:
        raise stopping.Interrupted(signum)


def _rank(scored: Scored) -> tuple[int, int, str]:
    return -scored.score.correct, scored.cost.macs, scored.candidate.architecture.digest


def _write_best(
    scorer: Scorer,
    result: SearchResult,
    folder: Path,
    constraint: Constraint,
    class_names: Sequence[str] | None,
) -> None:
    architecture = result.best.candidate.architecture
    network = scorer.net.extract(architecture, statistics=scorer.statistics(architecture))
    save_model(network.cpu(), folder / BEST_FOLDER, class_names=class_names)
    windows = {metric: list(window) for metric, window in constraint.windows().items()}
    write_json(
        folder / BEST_FILE,
        {
            "space": scorer.net.space.config,
            "num_classes": scorer.net.num_classes,
            "constraint": windows,
            "random_median_top1": result.random_median,
            **result.best.record(),
        },
    )
