"""A shrinking from the search to the files that it leaves; see `runs/layout.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from vitsearch.errors import HistoryError
from vitsearch.lightning.distributed import from_first, rank_and_world, wait_for_processes
from vitsearch.lightning.resuming.timing import Stopwatch
from vitsearch.lightning.scoring.distributed import score_together
from vitsearch.lightning.scoring.repaired import RepairedScorer
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.search.result import SearchResult, write_result
from vitsearch.lightning.shrinking.finalists import Chosen, LastRound
from vitsearch.lightning.shrinking.preparation import Prepared, Say
from vitsearch.lightning.shrinking.targets import Target, Targets
from vitsearch.lightning.tasks import Score
from vitsearch.reports import ResultRow, SearchProgress, result_record
from vitsearch.reports.words.figure import figure_entry
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import read_json, with_format
from vitsearch.runs.layout import (
    ELASTIC_FOLDER,
    FINALISTS_FILE,
    MODELS_FOLDER,
    RESULT_FILE,
    SHRINK_FILE,
)
from vitsearch.shrinking import Elastic, FrontPoint, save_elastic
from vitsearch.shrinking.search import full_last
from vitsearch.spaces import Architecture
from vitsearch.supernet import load_model, save_model

Record = dict[str, Any]
REPAIR = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinking:
    """A shrinking that is ready to run.

    Attributes:
        job: The search; its scorer is a `RepairedScorer`.
        prepared: The network.
        targets: The budgets.
        finalists: How many candidates of each budget are repaired branch by branch.
        facts: More of `search/shrink.json`, such as where the network is from.
        test: Reads the test split; `None` leaves it alone.
    """

    job: SearchJob
    prepared: Prepared
    targets: Targets
    finalists: int
    facts: Record
    test: Callable[[], Iterable[Any]] | None

    @property
    def scorer(self) -> RepairedScorer:
        """The job's."""
        assert isinstance(self.job.scorer, RepairedScorer)
        return self.job.scorer


def run_shrinking(shrinking: Shrinking, progress: SearchProgress, say: Say) -> Record:
    """Search, choose a network for each budget, write everything.

    Args:
        shrinking: What to do.
        progress: Shows every generation.
        say: Prints a line.

    Returns:
        What `search/shrink.json` says.

    Raises:
        HistoryError: The folder has the history of another search, or a damaged one.
        Interrupted: An end was wished; the run can go on.
    """
    job, scorer = shrinking.job, shrinking.scorer
    result = run_search(job, progress)
    largest = scorer.net.largest
    tested = None if shrinking.test is None else scorer.on(shrinking.test())
    full = _full(scorer, result, tested)
    chosen = _choose(shrinking, result, tested, say)
    uniform = _uniform(scorer, result, shrinking.prepared.uniform)
    record: Record = {
        **shrinking.facts,
        **figure_entry(scorer.task.figure),
        "num_images": scorer.num_images,
        "full": {
            "digest": largest.digest,
            **scorer.net.cost(largest).to_dict(),
            "search": full[0].value,
            "test": None if full[1] is None else full[1].value,
        },
        "networks": chosen,
        "uniform": uniform,
    }
    if rank_and_world()[0] == 0:
        _write(shrinking, result, full, record)
    wait_for_processes()
    return record


def _full(
    scorer: RepairedScorer, result: SearchResult, tested: RepairedScorer | None
) -> tuple[Score, Score | None]:
    """The full network on both splits."""
    largest = scorer.net.largest
    known = {one.candidate.architecture: one.score for one in result.history}
    search = known.get(largest) or score_together(scorer, [largest])[0]
    return search, None if tested is None else score_together(tested, [largest])[0]


def _choose(
    shrinking: Shrinking, result: SearchResult, tested: RepairedScorer | None, say: Say
) -> list[Record]:
    """A network for each budget; those that an earlier start has written stay."""
    folder = shrinking.job.folder
    file = folder / FINALISTS_FILE
    done: dict[str, Record] = from_first(read_json(file, HistoryError) if file.is_file() else {})
    last = LastRound(shrinking.scorer, result.history, count=shrinking.finalists, test=tested)
    records = []
    for target in shrinking.targets.each:
        if target.name not in done:
            part = f"{REPAIR} of {target.name}"
            watch = Stopwatch(folder, part, shrinking.scorer.device, goes_on=False)
            chosen = last.choose(target)
            if chosen is None:
                say(f"{target.name}: no candidate is inside the budget; more generations may help")
                continue
            done[target.name] = _record_of(shrinking, target, chosen)
            if rank_and_world()[0] == 0:
                _write_model(shrinking, target, chosen)
                write_json(file, with_format(done))
            watch.lap()
            say(
                f"{target.name}: repaired its {shrinking.finalists} best candidates and the "
                f"uniform cut through the cut network in {watch.seconds:.0f} s"
            )
        records.append(done[target.name])
    return records


def _write_model(shrinking: Shrinking, target: Target, chosen: Chosen) -> None:
    job = shrinking.job
    chosen.network.set_preprocessing(job.preprocessing)
    save_model(
        chosen.network, job.folder / MODELS_FOLDER / target.name, class_names=job.class_names
    )


def _record_of(shrinking: Shrinking, target: Target, chosen: Chosen) -> Record:
    windows = target.constraint.all_windows().items()
    return {
        "budget": target.name,
        "constraint": {name: list(window) for name, window in windows},
        **chosen.best.record(shrinking.scorer),
        "uniform": None if chosen.uniform is None else chosen.uniform.record(shrinking.scorer),
    }


def _uniform(
    scorer: RepairedScorer, result: SearchResult, cuts: Iterable[Architecture]
) -> list[Record]:
    """Uniform cuts along the way, repaired from the calibration and not repaired at all."""
    known = {one.candidate.architecture: one.score for one in result.history}
    listed = list(cuts)
    missing = [cut for cut in listed if cut not in known]
    known |= dict(zip(missing, score_together(scorer, missing), strict=True))

    def cut_alone(cut: Architecture) -> Score:
        return scorer.score_as_is(scorer.net.extract(cut))

    with torch.no_grad():
        bare_scores = scorer.side_by_side(cut_alone, listed)
    return [
        {
            "digest": cut.digest,
            **scorer.net.cost(cut).to_dict(),
            "repaired": known[cut].value,
            "unrepaired": bare.value,
        }
        for cut, bare in zip(listed, bare_scores, strict=True)
    ]


def _write(
    shrinking: Shrinking,
    result: SearchResult,
    full: tuple[Score, Score | None],
    record: Record,
) -> None:
    """The files at the end: elastic folder, best network, results."""
    job, scorer = shrinking.job, shrinking.scorer
    net, figure = scorer.net, scorer.task.figure
    points = [
        FrontPoint(architecture=one.candidate.architecture, cost=one.cost, score=one.score.value)
        for one in result.front
    ]
    whole = FrontPoint(architecture=net.largest, cost=net.cost(net.largest), score=full[0].value)
    elastic = Elastic(
        supernet=net,
        calibration=scorer.calibration,
        front=full_last([*points, whole], net.largest),
        figure=figure.name,
    )
    save_elastic(elastic, job.folder / ELASTIC_FOLDER)
    rows = [_row("largest", net.largest, scorer, full[0].value, record["full"]["test"])]
    if record["networks"]:
        first = record["networks"][0]
        best = next(
            one for one in result.history if one.candidate.architecture.digest == first["digest"]
        )
        network = load_model(job.folder / MODELS_FOLDER / first["budget"])
        write_result(job, replace(result, best=best), network)
        rows.insert(
            0,
            _row("best", best.candidate.architecture, scorer, first["search"], first["test"]),
        )
    write_json(
        job.folder / RESULT_FILE, with_format(result_record(rows, scorer.num_images, figure))
    )
    write_json(job.folder / SHRINK_FILE, with_format(record))


def _row(
    name: str, architecture: Architecture, scorer: RepairedScorer, search: float, test: float | None
) -> ResultRow:
    return ResultRow(
        name=name,
        digest=architecture.digest,
        cost=scorer.net.cost(architecture),
        search=search,
        test=test,
    )
