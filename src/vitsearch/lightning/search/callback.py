"""The callback that searches the trained super-transformer, and what it prints at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from vitsearch.costs import Constraint
from vitsearch.costs.metrics import named
from vitsearch.data import preprocessing_of
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.distributed import rank_and_world
from vitsearch.lightning.scoring.distributed import score_together
from vitsearch.lightning.scoring.halving import Halving
from vitsearch.lightning.scoring.repair import CALIBRATION_IMAGES, calibrate_on, check_repair
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.scoring.splits import (
    check_search_split,
    sample_batches,
    search_batches,
    statistics_batches,
    test_batches,
)
from vitsearch.lightning.search.factory import (
    SearcherFactory,
    Settings,
    make_constraint,
    make_searcher,
)
from vitsearch.lightning.search.history import refuse_old_history
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.loop import run_search
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.lightning.search.result import SearchResult
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.reports import (
    ResultRow,
    SearchProgress,
    architecture_panel,
    end_table,
    front_table,
    make_console,
    result_record,
)
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format
from vitsearch.runs.layout import MEASURED_FILE, RESULT_FILE
from vitsearch.searchers import Searcher
from vitsearch.spaces import Architecture


class EvolutionarySearch(pl.Callback):
    """After training, searches the supernet and writes `search/` and `best/` into the run folder.

    It works in any `Trainer`. Candidates are scored on the search split of the data module, or on
    the validation loader if there is no data module.

    Attributes:
        result: What the last search found.
    """

    def __init__(
        self,
        constraint: Constraint | Settings | None = None,
        searcher: SearcherFactory | Settings | None = None,
        *,
        dirpath: str | Path | None = None,
        use_test_split: bool = True,
        halving: bool = False,
        report: bool = True,
        repair: bool = False,
    ) -> None:
        """Set up a search.

        Args:
            constraint: The budget, or its windows by name (`{"macs": [1e9, 2e9]}`).
            searcher: A function `(space, constraint, num_classes=...) -> Searcher`, or settings of
                `EvolutionSearcher`. A function that has a parameter `measure` gets what measures
                costs.
            dirpath: The run folder; the trainer's `default_root_dir` by default.
            use_test_split: Whether to score the best and the largest network on the test split,
                once and at the very end.
            halving: Whether the worse half of each generation is dropped after a part of the search
                split, see `vitsearch.lightning.scoring.halving`.
            report: Whether `report.html` is made at the end.
            repair: Whether what a candidate lacks is folded into what it keeps before it is scored
                and taken out, from 1,000 training images; see `SuperTransformer.calibrate`.

        Raises:
            ConfigError: `halving`, `report` or `repair` is neither true nor false.
            ConstraintError: A window is malformed.
        """
        self.halving = check_flag("halving", halving)
        self.report = check_flag("report", report)
        self.repair = check_flag("repair", repair)
        self.constraint = make_constraint(constraint)
        self.searcher = searcher
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.use_test_split = use_test_split
        self.result: SearchResult | None = None
        self._made: tuple[SearchableClassifier, Searcher] | None = None
        self._measurements: Measurements | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse an impossible budget before training, not after it.

        Raises:
            ConfigError: The module is no `SearchableClassifier`, or a setting is out of range.
            ConstraintError: The space does not reach the budget, or what measures is not there.
            DataError: No images are held out of training.
        """
        if not isinstance(pl_module, SearchableClassifier):
            raise ConfigError(
                f"EvolutionarySearch needs a SearchableClassifier, not {type(pl_module).__name__}"
            )
        self.check(pl_module)
        if getattr(trainer.datamodule, "train_on", None) == "all":  # type: ignore[attr-defined]
            raise ConfigError(
                "data.train_on=all leaves no image to score candidates on; it is for retraining"
            )
        if stage == "fit":
            check_search_split(trainer)

    def check(self, module: SearchableClassifier) -> None:
        """Make the searcher, which refuses settings that this module cannot be searched with.

        It is made once for a search: before the training, and asked behind it.

        Raises:
            ConfigError: A setting is out of range.
            ConstraintError: The space does not reach the budget, or what measures is not there.
        """
        if self._made is not None and self._made[0] is module:
            return
        check_repair(self.repair, module.net)
        # The search's own device is there when the search is.
        self._measurements = self._measure_on(torch.device("cpu"), module)
        searcher = make_searcher(
            self.searcher,
            module.search_space,
            self.constraint,
            module.num_classes,
            measure={name: partial(self._measure, name) for name in self._measurements.measures()},
        )
        if self.halving:
            Halving.check(searcher)
        self._made = module, searcher

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to train anew where the search of another training has left its scores.

        Raises:
            HistoryError: It has.
        """
        if trainer.ckpt_path is None:
            refuse_old_history(self.folder(trainer))

    def _measure(self, metric: str, architecture: Architecture) -> float:
        assert self._measurements is not None
        return self._measurements.value(metric, architecture)

    def _measure_on(
        self, device: torch.device, module: SearchableClassifier, file: Path | None = None
    ) -> Measurements:
        return Measurements(
            module.space,
            module.num_classes,
            self.constraint.measure,
            search_device=device,
            file=file,
        )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Search, write the files, print the table; goes on with a search that was interrupted.

        Raises:
            HistoryError: The folder has the history of another search, or a damaged one.
        """
        assert isinstance(pl_module, SearchableClassifier)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        device = trainer.strategy.root_device  # the trainer has moved the network to the CPU
        calibration = None
        if self.repair:
            images = sample_batches(trainer, CALIBRATION_IMAGES)
            calibration = calibrate_on(device, pl_module.net, images)
        scorer = Scorer(
            pl_module.net,
            search_batches(trainer),
            statistics_batches(trainer),
            device=device,
            calibration=calibration,
            task=pl_module.task,
            autocast=trainer.precision_plugin.forward_context,
        )
        data = trainer.datamodule  # type: ignore[attr-defined]
        folder = self.folder(trainer)
        self.check(pl_module)
        assert self._made is not None
        (_, searcher), self._made = self._made, None  # the next search gets a fresh one
        measurements = self._measure_on(scorer.device, pl_module, folder / MEASURED_FILE)
        self._measurements = measurements
        job = SearchJob(
            scorer=scorer,
            searcher=searcher,
            folder=folder,
            constraint=self.constraint,
            class_names=getattr(data, "class_names", None) or None,
            preprocessing=preprocessing_of(data),
            halving=self.halving,
            measurements=measurements,
        )
        test = partial(test_batches, trainer) if self.use_test_split else None
        self.result = search_and_report(job, test=test)
        best = {f"search/best_{scorer.task.figure.name}": self.result.best.score.value}
        for logger in trainer.loggers:
            logger.log_metrics(best, step=trainer.global_step)
            logger.save()
        if self.report:
            make_report(folder)

    def folder(self, trainer: pl.Trainer) -> Path:
        """The run folder."""
        return self.dirpath or Path(trainer.default_root_dir)


def search_and_report(
    job: SearchJob, *, test: Callable[[], Iterable[Any] | None] | None
) -> SearchResult:
    """Run a search, score its best and the largest network on the test split, note and print both.

    Args:
        job: The search.
        test: Reads the test split; called once, after the search.
    """
    scorer = job.scorer
    console = make_console() if rank_and_world()[0] == 0 else None
    figure = scorer.task.figure
    progress = SearchProgress(job.searcher.num_candidates, console, figure)
    result = run_search(job, progress)
    networks = {"best": result.best.candidate.architecture, "largest": scorer.net.space.largest()}
    search_scores = score_together(scorer, list(networks.values()))
    batches = None if test is None else test()
    test_scores: list[float | None] = [None] * len(networks)
    if batches is not None:
        on_test = scorer.on(batches)
        test_scores = [score.value for score in score_together(on_test, list(networks.values()))]
    if console is not None:
        rows = [
            ResultRow(
                name=name,
                digest=architecture.digest,
                cost=scorer.net.cost(architecture),
                search=search.value,
                test=test_score,
            )
            for (name, architecture), search, test_score in zip(
                networks.items(), search_scores, test_scores, strict=True
            )
        ]
        record = with_format(result_record(rows, scorer.num_images, figure))
        write_json(job.folder / RESULT_FILE, record)
        if result.minimise:
            records = [scored.record() for scored in result.front]
            console.print(front_table(records, result.minimise, scorer.num_images, figure))
        print_result(console, scorer, result, rows)
        measured = result.best.candidate.measured
        if measured:
            console.print(f"measured on the best: {measured_in_words(measured, job.constraint)}")
    return result


def make_report(folder: Path) -> None:
    """Make the report of a run on the first process, and say where; never at the run's expense."""
    if rank_and_world()[0] != 0:
        return
    try:
        from vitsearch.reports.page.report import write_report  # takes time, and matplotlib

        line = f"report: {write_report([folder], folder)}"
    except Exception as error:  # a finished search is worth more than its pictures
        line = f"no report: {' '.join(str(error).split()) or type(error).__name__}"
    make_console().print(line, highlight=False, markup=False, soft_wrap=True)


def measured_in_words(measured: Mapping[str, float], constraint: Constraint) -> str:
    """Measured costs and the circumstances that they belong to."""
    found = [(named(name), value) for name, value in measured.items()]
    values = [f"{metric.label} {metric.text_with_unit(value)}" for metric, value in found]
    how = constraint.measure
    return f"{', '.join(values)} (batch {how.batch_size}, {how.dtype}, device {how.device})"


def print_result(
    console: Console, scorer: Scorer, result: SearchResult, rows: Sequence[ResultRow]
) -> None:
    """The end of a search: the architecture in words, the table, and best against luck."""
    shown = scorer.task.figure.text
    assert result.random_median is not None  # a search draws its first generation
    console.print(architecture_panel(scorer.net.space, result.best.candidate.architecture))
    console.print(end_table(rows, scorer.num_images, scorer.task.figure))
    console.print(
        f"best on the search split {shown(result.best.score.value)}, median of "
        f"{result.num_first} random architectures of the same window "
        f"{shown(result.random_median)}; {len(result.history)} candidates"
        f"{f', {result.num_recalled} of them from before' if result.num_recalled else ''} in "
        f"{result.seconds:.0f} s",
        highlight=False,
    )
