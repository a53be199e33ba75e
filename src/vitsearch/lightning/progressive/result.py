"""What a training that shrinks leaves: its shrinks, and the network that is left, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from vitsearch.costs import Constraint
from vitsearch.data import preprocessing_of
from vitsearch.lightning.distributed import rank_and_world
from vitsearch.lightning.progressive.state import ShrinkingState
from vitsearch.lightning.scoring.distributed import score_together
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.scoring.splits import search_batches, statistics_batches, test_batches
from vitsearch.lightning.search.callback import make_report
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.search.result import SearchResult
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.reports import (
    ResultRow,
    SearchProgress,
    architecture_panel,
    end_table,
    make_console,
    result_record,
)
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format
from vitsearch.runs.layout import RESULT_FILE, SHRINKS_FILE
from vitsearch.searchers import Candidate
from vitsearch.spaces import Architecture


class WhatIsLeft:
    """A searcher that proposes the one architecture that a training has left."""

    num_candidates = 1

    def __init__(self, architecture: Architecture) -> None:
        self._open = [Candidate(architecture=architecture, generation=0, origin="shrinking")]

    def ask(self) -> list[Candidate]:
        """The architecture, once."""
        return self._open

    def tell(self, scores: Sequence[float | None]) -> None:
        """Its score ends the search."""
        self._open = []

    def state_dict(self) -> dict[str, Any]:
        """Whether it was scored."""
        return {"scored": not self._open}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._open = [] if state["scored"] else self._open


def write_shrinks(folder: Path, state: ShrinkingState) -> None:
    """Write step, costs and architecture of every shrink; the first process does."""
    if rank_and_world()[0] == 0:
        write_json(folder / SHRINKS_FILE, with_format({"shrinks": state.shrinks}))


def score_what_is_left(
    trainer: pl.Trainer,
    module: SearchableClassifier,
    folder: Path,
    *,
    constraint: Constraint,
    use_test_split: bool,
    report: bool,
) -> SearchResult:
    """Score the network on the search split, then once on the test split; write and print both.

    Args:
        trainer: Behind `fit`.
        module: Holds the supernet whose largest architecture is left.
        folder: The run folder.
        constraint: The budget, for the record.
        use_test_split: Whether the test split is read.
        report: Whether a report is made.
    """
    scorer = Scorer(
        module.net,
        search_batches(trainer),
        statistics_batches(trainer),
        device=trainer.strategy.root_device,
        task=module.task,
        autocast=trainer.precision_plugin.forward_context,
    )
    data = trainer.datamodule  # type: ignore[attr-defined]
    architecture, figure = module.net.largest, scorer.task.figure
    job = SearchJob(
        scorer=scorer,
        searcher=WhatIsLeft(architecture),
        folder=folder,
        constraint=constraint,
        class_names=getattr(data, "class_names", None) or None,
        preprocessing=preprocessing_of(data),
    )
    console = make_console() if rank_and_world()[0] == 0 else None
    result = run_search(job, SearchProgress(1, None, figure))
    batches = test_batches(trainer) if use_test_split else None
    tested = None
    if batches is not None:
        tested = score_together(scorer.on(batches), [architecture])[0].value
    if console is not None:
        row = ResultRow(
            name="best",
            digest=architecture.digest,
            cost=module.net.cost(architecture),
            search=result.best.score.value,
            test=tested,
        )
        record = with_format(result_record([row], scorer.num_images, figure))
        write_json(folder / RESULT_FILE, record)
        title = f"left by shrinking {architecture.digest}"
        console.print(architecture_panel(module.net.space, architecture, title=title))
        console.print(end_table([row], scorer.num_images, figure))
    found = {f"search/best_{figure.name}": result.best.score.value}
    for logger in trainer.loggers:
        logger.log_metrics(found, step=trainer.global_step)
        logger.save()
    if report:
        make_report(folder)
    return result
