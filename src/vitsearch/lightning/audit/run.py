"""An audit: the scores that architectures inherit from a supernet against training them alone.

Every process scores and trains whole architectures, as in a search; the first one writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from vitsearch.lightning.audit.heartbeat import Presence
from vitsearch.lightning.audit.log import TrainingLog
from vitsearch.lightning.audit.plan import AuditPlan
from vitsearch.lightning.audit.training_free import scores_without_training
from vitsearch.lightning.audit.trainings import AuditTrainings
from vitsearch.lightning.distributed import rank_and_world, wait_for_processes
from vitsearch.lightning.retraining.train_alone import Recipe
from vitsearch.lightning.scoring.distributed import score_together
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Score
from vitsearch.reports.facts.audit import AuditedNetwork, audit_facts
from vitsearch.reports.pictures.audit import write_plots
from vitsearch.reports.terminal.audit_tables import audit_lines, audit_tables
from vitsearch.reports.words.audit import ALARM
from vitsearch.reports.words.figure import Figure
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format
from vitsearch.runs.layout import AUDIT_FILE
from vitsearch.searchers.comparison import ComparedSearches, compare_searches
from vitsearch.spaces import Architecture
from vitsearch.training_free import SCORES

NETWORKS_FOLDER = "networks"
_POLL_SECONDS = 1.0


def run_audit(
    scorer: Scorer,
    plan: AuditPlan,
    recipe: Recipe,
    datamodule: pl.LightningDataModule,
    folder: Path,
    *,
    console: Console | None = None,
    test: Callable[[], Iterable[Any]] | None = None,
) -> dict[str, Any] | None:
    """Score, compare, train; the result is also written as `audit.json`, with pictures beside it.

    Trainings that `trainings.jsonl` in the folder holds are not repeated.

    Args:
        scorer: Of the supernet, on the search split.
        plan: Which architectures and searches.
        recipe: How the supernet was trained.
        datamodule: The run's data, set up.
        folder: Where files go.
        console: Where to show; `None` shows nothing.
        test: Reads the test split; called once, after all trainings. The trained networks are kept
            in `networks/` for it.

    Returns:
        The contents of `audit.json` (see `audit_facts`); `None` on all processes but the first.
    """
    rank, world = rank_and_world()
    trainings = AuditTrainings(
        plan=plan,
        scorer=scorer,
        recipe=recipe,
        datamodule=datamodule,
        log=TrainingLog(folder, rank),
        networks_folder=None if test is None else folder / NETWORKS_FOLDER,
    )
    if rank == 0:
        trainings.log.fold()
    wait_for_processes()
    missing = trainings.missing()
    scores = InheritedScores(scorer)
    inherited = scores(plan.architectures)
    ends = scores([scorer.net.space.smallest(), scorer.net.space.largest()])
    searches = compare(plan, scores, scorer.task.figure, console)
    wait_for_processes()  # all have read the log, nobody has written to it
    _say(console, f"{len(plan.keys) - len(missing)} of {len(plan.keys)} trainings are done")
    untrained: dict[str, list[float]] = {}
    with Presence(folder, rank, world) as others:
        if rank == 0:
            untrained = scores_without_training(scorer, plan)
        trainings.run(missing[rank::world], lambda line: _say(console, line))
        while trainings.missing():  # not a collective: trainings outlast the patience of those
            others.check()
            time.sleep(_POLL_SECONDS)
    if rank:
        return None
    trainings.log.fold()
    networks = audited_networks(trainings, inherited, untrained, None if test is None else test())
    facts = {
        "recipe": dict(recipe.settings),
        **audit_facts(
            networks,
            num_images=scorer.num_images,
            seeds=plan.seeds,
            ends={"smallest": ends[0].value, "largest": ends[1].value},
            figure=scorer.task.figure,
            searches=[asdict(search) for search in searches],
            titles={name: SCORES[name].title for name in untrained},
        ),
    }
    write_json(folder / AUDIT_FILE.name, with_format(facts))
    _show(facts, folder, console)
    return facts


class InheritedScores:
    """Scores of a supernet's architectures, each computed once."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[str, Score] = {}

    def __call__(self, architectures: Sequence[Architecture]) -> list[Score]:
        """The scores of architectures; all processes must ask for the same ones."""
        unknown = {a.digest: a for a in architectures if a.digest not in self._known}
        found = score_together(self._scorer, list(unknown.values()))
        self._known.update(zip(unknown, found, strict=True))
        return [self._known[architecture.digest] for architecture in architectures]

    def values(self, architectures: Sequence[Architecture]) -> list[float]:
        """What searches compare."""
        return [score.value for score in self(architectures)]


def compare(
    plan: AuditPlan, scores: InheritedScores, figure: Figure, console: Console | None
) -> list[ComparedSearches]:
    """Run the searches of a plan."""
    found = []
    for seed, (evolution, at_random) in plan.searchers.items():
        compared = compare_searches(evolution, at_random, scores.values, seed=seed)
        found.append(compared)
        best, drawn = figure.text(compared.evolution[-1]), figure.text(compared.random[-1])
        _say(
            console,
            f"search with seed {seed}, {compared.evaluations} evaluations each: evolution finds "
            f"{best}, random search {drawn}",
        )
    return found


def audited_networks(
    trainings: AuditTrainings,
    inherited: Sequence[Score],
    untrained: Mapping[str, Sequence[float]],
    test: Iterable[Any] | None,
) -> list[AuditedNetwork]:
    """The architectures of a plan with all their scores; every training is finished."""
    plan, records = trainings.plan, trainings.log.read()
    figure = trainings.scorer.task.figure
    tested = {} if test is None else trainings.test(test)
    found = []
    for number, (architecture, score) in enumerate(zip(plan.architectures, inherited, strict=True)):
        keys = [(architecture.digest, seed) for seed in plan.seeds]
        cost = trainings.scorer.net.cost(architecture)
        found.append(
            AuditedNetwork(
                architecture=architecture,
                macs=cost.macs,
                params=cost.params,
                inherited=score.value,
                alone=tuple(float(records[key][figure.name]) for key in keys),
                alone_on_test=tuple(tested[key] for key in keys if key in tested),
                training_free={name: values[number] for name, values in untrained.items()},
            )
        )
    return found


def _show(facts: dict[str, Any], folder: Path, console: Console | None) -> None:
    write_plots(facts, folder)
    if console is None:
        return
    for table in audit_tables(facts):
        console.print(table)
    for line in audit_lines(facts):
        _say(console, line, style="bold red" if line.startswith(ALARM) else None)


def _say(console: Console | None, line: str, style: str | None = None) -> None:
    if console is not None:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
