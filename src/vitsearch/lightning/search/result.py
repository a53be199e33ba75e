"""What a search found, and the files that say so: best architecture, its network, the front."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitsearch.costs import Cost
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.tasks import Score
from vitsearch.reports.words.figure import figure_entry
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format
from vitsearch.runs.layout import BEST_FILE, BEST_FOLDER, FRONT_FILE
from vitsearch.searchers import Candidate, FrontSearcher, Searcher
from vitsearch.supernet import VisionTransformer, save_model


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
            **self.score.record(),
            **self.cost.to_dict(),
            **self.candidate.measured,
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
        best: The best score; of equals the cheapest. With several objectives it is the most
            accurate end of the front.
        random_median: Median score of the random first generation: what luck gives; `None` where
            nothing was drawn.
        num_recalled: How many scores an interrupted search had left.
        seconds: How long scoring the others took.
        front: What no other candidate betters, the cheapest first; empty with one objective.
        minimise: The costs that were minimised beside the score, by name; empty with one objective.
    """

    history: tuple[Scored, ...]
    best: Scored
    random_median: float | None
    num_recalled: int
    seconds: float
    front: tuple[Scored, ...] = ()
    minimise: tuple[str, ...] = ()

    @property
    def num_first(self) -> int:
        """Random architectures that `random_median` rests on."""
        return sum(scored.candidate.generation == 0 for scored in self.history)


def best_of(candidates: Sequence[Scored]) -> Scored:
    """The best score; of equals the cheapest, then by digest."""
    return min(
        candidates,
        key=lambda one: (-one.score.value, one.cost.macs, one.candidate.architecture.digest),
    )


def front_of(history: Sequence[Scored], searcher: Searcher) -> tuple[Scored, ...]:
    """The candidates on the searcher's front; none with one objective."""
    if not isinstance(searcher, FrontSearcher):
        return ()
    scored = {one.candidate.architecture: one for one in history}
    return tuple(scored[architecture] for architecture in searcher.front())


def write_result(
    job: SearchJob, result: SearchResult, network: VisionTransformer | None = None
) -> None:
    """Write the best architecture, its network, and the front if there is one.

    Args:
        job: The search.
        result: What it found.
        network: That of the best architecture; as the scorer takes it out by default.
    """
    scorer, folder, constraint = job.scorer, job.folder, job.constraint
    architecture = result.best.candidate.architecture
    network = scorer.extract(architecture) if network is None else network
    network.set_preprocessing(job.preprocessing)
    save_model(network.cpu(), folder / BEST_FOLDER, class_names=job.class_names)
    windows = constraint.all_windows().items()
    budget: dict[str, Any] = {metric: list(window) for metric, window in windows}
    if result.best.candidate.measured:
        budget["measure"] = constraint.measure.to_dict()
    origin = {
        "space": scorer.net.space.config,
        "num_classes": scorer.net.num_classes,
        "constraint": budget,
        **figure_entry(scorer.task.figure),
    }
    median: dict[str, float] = {}
    if result.random_median is not None:
        median[f"random_median_{scorer.task.figure.name}"] = result.random_median
    write_json(folder / BEST_FILE, with_format({**origin, **median, **result.best.record()}))
    if result.minimise:
        front = [scored.record() for scored in result.front]
        found = {"minimise": list(result.minimise), "front": front}
        write_json(folder / FRONT_FILE, with_format({**origin, **found}))
