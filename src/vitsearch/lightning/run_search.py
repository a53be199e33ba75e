"""A search from the first candidate to the files it leaves: history, best architecture, model.

The callback `EvolutionarySearch` runs it after training, `python -m vitsearch.search` from a
checkpoint. Every process runs the same searcher; the candidates of a generation are scored by the
processes in turn, and the counts are added up, so the history does not depend on their number.
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

from vitsearch.costs import Constraint, Cost, CostModel
from vitsearch.files import write_json, write_text
from vitsearch.lightning.halving import Halving
from vitsearch.lightning.processes import rank_and_world, sum_over_processes
from vitsearch.lightning.scoring import Score, Scorer
from vitsearch.reports.progress import SearchProgress
from vitsearch.searchers import Candidate, FrontSearcher, Searcher
from vitsearch.spaces import Architecture
from vitsearch.supernet import save_model

HISTORY_FILE = Path("search") / "history.jsonl"
BEST_FILE = Path("search") / "best.json"
FRONT_FILE = Path("search") / "front.json"
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
            **self.candidate.measured,
            "architecture": self.candidate.architecture.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        history: All candidates, in the order in which they were proposed.
        best: The best score; of equals the cheapest. With several objectives it is the most
            accurate end of the front.
        random_median: Median top-1 of the random first generation: what luck gives.
        seconds: How long scoring took.
        front: What no other candidate betters, the cheapest first; empty with one objective.
    """

    history: tuple[Scored, ...]
    best: Scored
    random_median: float
    seconds: float
    front: tuple[Scored, ...] = ()

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
    halving: bool = False,
) -> SearchResult:
    """Search, and write the history, the best architecture and its network into a run folder.

    Args:
        scorer: Says how good an architecture is.
        searcher: Says what to try.
        folder: The run folder.
        constraint: The budget, for the record.
        progress: Told of every generation.
        class_names: Written beside the network.
        halving: Whether the worse half of a generation is given up on a part of the images.

    Raises:
        ConfigError: Halving does not go with the searcher.
    """
    if halving:
        Halving.check(searcher)
    rungs = Halving(scorer) if halving else None
    model = CostModel(scorer.net.space, scorer.net.num_classes)
    is_writer = rank_and_world()[0] == 0
    history: list[Scored] = []
    started = time.monotonic()
    with progress:
        while candidates := searcher.ask():
            architectures = [candidate.architecture for candidate in candidates]
            scores = [] if rungs is None else rungs.score(architectures)
            for start in range(len(scores), len(architectures), progress.chunk):
                scores += score_in_turn(scorer, architectures[start : start + progress.chunk])
                best = max([s.score.top1 for s in history] + [s.top1 for s in scores])
                progress.update(candidates[0].generation, len(history) + len(scores), best)
            top1 = [score.top1 for score in scores]
            searcher.tell(top1 if rungs is None else rungs.whole_top1(scores))
            history += [
                Scored(candidate=c, score=s, cost=model.cost(c.architecture))
                for c, s in zip(candidates, scores, strict=True)
            ]
            if rungs is not None:
                best = max(s.score.top1 for s in whole(history, scorer))
                progress.update(candidates[0].generation, len(history), best)
            if is_writer:
                lines = "".join(json.dumps(scored.record()) + "\n" for scored in history)
                write_text(folder / HISTORY_FILE, lines)
            progress.generation_done(candidates[0].generation, top1)
    first = [s.score.top1 for s in history if s.candidate.generation == 0]
    front: list[Scored] = []
    if isinstance(searcher, FrontSearcher):
        scored = {s.candidate.architecture: s for s in history}
        front = [scored[architecture] for architecture in searcher.front()]
    result = SearchResult(
        history=tuple(history),
        best=min(front or whole(history, scorer), key=_rank),
        random_median=median(first),
        seconds=time.monotonic() - started,
        front=tuple(front),
    )
    if is_writer:
        _write_best(scorer, result, folder, constraint, class_names)
        if isinstance(searcher, FrontSearcher):
            write_json(
                folder / FRONT_FILE,
                {
                    "space": scorer.net.space.config,
                    "num_classes": scorer.net.num_classes,
                    "constraint": _windows(constraint),
                    "minimise": list(searcher.minimise),
                    "front": [scored.record() for scored in front],
                },
            )
    return result


def whole(history: Sequence[Scored], scorer: Scorer) -> list[Scored]:
    """The candidates that were scored on all images, not given up early."""
    return [scored for scored in history if scored.score.total == scorer.num_images]


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
    write_json(
        folder / BEST_FILE,
        {
            "space": scorer.net.space.config,
            "num_classes": scorer.net.num_classes,
            "constraint": _windows(constraint),
            "random_median_top1": result.random_median,
            **result.best.record(),
        },
    )


def _windows(constraint: Constraint) -> dict[str, Any]:
    """The windows that are set, and how the measured ones of them were measured."""
    measured = constraint.measured_windows()
    windows = {**constraint.windows(), **measured}
    found: dict[str, Any] = {metric: list(window) for metric, window in windows.items()}
    return {**found, "measure": constraint.measure.to_dict()} if measured else found
