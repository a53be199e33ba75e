"""A transformation of given architectures: the search, what came of each, the files that say so.

The search is an ordinary one, so it has a history, goes on after a stop, and does not depend on the
number of processes. What comes of an architecture is the best of the whole history that it may
become; it stays itself unless that is better on the search split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vitsearch.lightning.distributed import rank_and_world
from vitsearch.lightning.scoring.distributed import score_together
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.search.result import Scored, best_of
from vitsearch.reports import SearchProgress, make_console
from vitsearch.reports.facts.transformed import End, Transformed
from vitsearch.reports.terminal.transform_table import change_lines, transform_table
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format
from vitsearch.runs.layout import MODELS_FOLDER, TRANSFORMED_FILE
from vitsearch.searchers import Candidate
from vitsearch.spaces import Architecture
from vitsearch.supernet import save_model
from vitsearch.transitions import Transitions, changes


def run_transform(
    job: SearchJob,
    given: Sequence[Architecture],
    transitions: Transitions,
    *,
    test: Callable[[], Iterable[Any] | None] | None,
) -> list[Transformed]:
    """Search, choose, score on the test split, write `transformed.json` and the networks, print.

    Args:
        job: The search, whose searcher begins with the given architectures.
        given: What is transformed.
        transitions: What they may become.
        test: Reads the test split; called once, after the search.
    """
    scorer = job.scorer
    first = rank_and_world()[0] == 0
    console = make_console() if first else None
    figure = scorer.task.figure
    before: list[Scored] = []
    after: list[Scored] = []

    def choose(history: Sequence[Scored]) -> Scored:
        before.extend(_given(job, given, history))
        after.extend(chosen(before, transitions, history, whole=scorer.is_whole))
        return best_of(after)

    progress = SearchProgress(job.searcher.num_candidates, console, figure)
    result = run_search(job, progress, choose=choose)
    test_scores = _on_test(job, [one.candidate.architecture for one in (*before, *after)], test)
    space = scorer.net.space
    found = [
        Transformed(
            before=_end(one, test_scores),
            after=_end(other, test_scores),
            changes=tuple(changes(space, one.candidate.architecture, other.candidate.architecture)),
        )
        for one, other in zip(before, after, strict=True)
    ]
    if console is not None:
        _write(job, found, after, transitions.rule, num_candidates=len(result.history))
        _show(console, job, found)
    return found


def _given(
    job: SearchJob, given: Sequence[Architecture], history: Sequence[Scored]
) -> list[Scored]:
    """The given architectures with their scores: the history's, or own ones outside the budget."""
    scorer = job.scorer
    known = {one.candidate.architecture: one for one in history if scorer.is_whole(one.score)}
    missing = [one for one in given if one not in known]
    for one, score in zip(missing, score_together(scorer, missing), strict=True):
        candidate = Candidate(architecture=one, generation=0, origin="given")
        known[one] = Scored(candidate=candidate, score=score, cost=scorer.net.cost(one))
    return [known[one] for one in given]


def chosen(
    before: Sequence[Scored],
    transitions: Transitions,
    history: Sequence[Scored],
    *,
    whole: Callable[[Any], bool],
) -> list[Scored]:
    """What becomes of each given architecture: itself, unless something allowed is better."""
    scored = [one for one in history if whole(one.score)]
    found = []
    for own in before:
        architecture = own.candidate.architecture
        better = [
            one
            for one in scored
            if one.score.value > own.score.value
            and transitions.allows(architecture, one.candidate.architecture)
        ]
        found.append(best_of(better) if better else own)
    return found


def _end(one: Scored, test: Mapping[Architecture, float]) -> End:
    architecture = one.candidate.architecture
    return End(
        digest=architecture.digest,
        architecture=architecture.to_dict(),
        costs={**one.cost.to_dict(), **one.candidate.measured},
        search=one.score.value,
        test=test.get(architecture),
    )


def _on_test(
    job: SearchJob,
    architectures: Sequence[Architecture],
    test: Callable[[], Iterable[Any] | None] | None,
) -> dict[Architecture, float]:
    batches = None if test is None else test()
    if batches is None:
        return {}
    different = list(dict.fromkeys(architectures))
    scores = score_together(job.scorer.on(batches), different)
    return {one: score.value for one, score in zip(different, scores, strict=True)}


def _write(
    job: SearchJob,
    found: Sequence[Transformed],
    after: Sequence[Scored],
    rule: str,
    *,
    num_candidates: int,
) -> None:
    record = {
        "rule": rule,
        "figure": job.scorer.task.figure.name,
        "num_images": job.scorer.num_images,
        "num_candidates": num_candidates,
        "transformed": [one.to_dict() for one in found],
    }
    write_json(job.folder / TRANSFORMED_FILE, with_format(record))
    if len(found) == 1:
        return  # it is in best/
    for one, scored in zip(found, after, strict=True):
        network = job.scorer.extract(scored.candidate.architecture)
        network.set_preprocessing(job.preprocessing)
        folder = model_of(job.folder, one)
        save_model(network.cpu(), folder, class_names=job.class_names)


def model_of(run: Path, one: Transformed) -> Path:
    """Where the network lies that a given architecture became, where there are several."""
    return run / MODELS_FOLDER / one.before.digest


def _show(console: Console, job: SearchJob, found: Sequence[Transformed]) -> None:
    figure = job.scorer.task.figure
    console.print(transform_table(found, figure, job.scorer.num_images))
    for line in change_lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
