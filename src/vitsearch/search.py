"""`python -m vitsearch.search checkpoint=<run or ckpt>`: another budget from the same supernet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import RenderableType

from vitsearch.commands import data_section
from vitsearch.commands.architecture_source import task_of_run
from vitsearch.commands.command import command
from vitsearch.commands.pieces import launch, make_datamodule, make_fabric, make_scorer, make_task
from vitsearch.commands.session import Session
from vitsearch.commands.spec import RunSpec, required_space, with_settings, without_phases
from vitsearch.costs import Constraint
from vitsearch.data import preprocessing_of
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.scoring.halving import Halving
from vitsearch.lightning.scoring.repair import check_repair
from vitsearch.lightning.search.callback import make_report, search_and_report
from vitsearch.lightning.search.factory import make_constraint, make_searcher
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.lightning.tasks import Task
from vitsearch.reports import start_panel
from vitsearch.runs.layout import MEASURED_FILE
from vitsearch.runs.resume import read_config, retrain_command
from vitsearch.searchers import Searcher
from vitsearch.spaces import SearchSpace
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.storage.checkpoint import find_checkpoint, load_supernet


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpec(RunSpec):
    """A search of a trained supernet.

    Attributes:
        checkpoint: Where the supernet is from.
        net: The supernet.
        constraint: The budget.
        task: What the supernet was trained for; `None` for classification.
        halving: Whether the worse half of a generation is scored on fewer images.
        report: Whether a report is made at the end.
        repair: Whether candidates are repaired before they are scored; as in the run that trained
            the supernet, where the command does not say.
    """

    checkpoint: Path
    net: SuperTransformer
    constraint: Constraint
    task: Task | None
    halving: bool
    report: bool
    repair: bool


@command("search", resumes=True)
def main(config: DictConfig, session: Session) -> None:
    """Resolve the search and run it; goes on where the search of the folder has stopped."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    run = resolve(config, session.folder)
    if not session.is_finished(run):
        search(run, session)


def resolve(config: DictConfig, folder: Path) -> SearchSpec:
    """Load the supernet; its space and, where none are given, its run's images are the search's.

    Raises:
        CheckpointError: There is no supernet, or its data is unknown.
        ConfigError: A setting is out of range.
        ConstraintError: The budget is malformed.
    """
    checkpoint = find_checkpoint(config.checkpoint)
    expected = None if config.get("space") is None else SearchSpace(required_space(config))
    net = load_supernet(checkpoint, space=expected)
    if config.searcher.get("phases"):
        raise ConfigError(
            "searcher.phases needs python -m vitsearch.train, which trains between phases; "
            "searcher.phases=null searches everything at once"
        )
    repair = check_repair(_repair(config, checkpoint), net)
    complete = {
        **({"repair": True} if repair else {}),
        "checkpoint": str(checkpoint.absolute()),
        "data": data_section.of_supernet(config.get("data"), checkpoint, net.space),
        "space": net.space.config,
    }
    return SearchSpec(
        folder=folder,
        config=with_settings(config, complete),
        checkpoint=checkpoint,
        net=net,
        constraint=make_constraint(OmegaConf.to_container(config.constraint, resolve=True)),  # type: ignore[arg-type]
        task=make_task(task_of_run(checkpoint.parent)),
        halving=check_flag("halving", config.get("halving", False)),
        report=check_flag("report", config.get("report", True)),
        repair=repair,
    )


def _repair(config: DictConfig, checkpoint: Path) -> Any:
    given = config.get("repair")
    if given is not None:
        return given
    run = read_config(checkpoint.parent) or {}
    return ((run.get("callbacks") or {}).get("search") or {}).get("repair", False)


def search(run: SearchSpec, session: Session) -> None:
    """Score candidates on the search split, write the best, say what it found."""
    make = instantiate(without_phases(run.config).searcher)
    job, datamodule = begin(run, session, make, partial(_start, run))
    test = partial(datamodule.test_dataloader, shard=False) if run.config.use_test_split else None
    search_and_report(job, test=test)
    if run.report:
        make_report(run.folder)
    session.finish(run, partial(next_steps, run))


def begin(
    run: SearchSpec,
    session: Session,
    make: Callable[..., Searcher],
    panel: Callable[[Any, str], RenderableType],
) -> tuple[SearchJob, Any]:
    """Make the searcher, start the processes, write and print what begins.

    Args:
        run: The search.
        session: This start of the command.
        make: A function `(space, constraint, num_classes=...) -> Searcher`.
        panel: Makes the panel at the start of data module and devices in words.

    Returns:
        The search, ready to run, and the data module.
    """
    net, config = run.net, run.config
    datamodule = make_datamodule(config.data, run.checkpoint, net)
    fabric = make_fabric(config.trainer)
    measurements = Measurements(
        net.space,
        net.num_classes,
        run.constraint.measure,
        search_device=fabric.device,
        file=run.folder / MEASURED_FILE,
    )
    searcher = make_searcher(
        make, net.space, run.constraint, net.num_classes, measure=measurements.measures()
    )
    if run.halving:
        Halving.check(searcher)
    launch(fabric, config.get("process_timeout", 1800), datamodule)
    where = session.compute_on(fabric.device, net.space, config)
    session.begin(run, partial(panel, datamodule, f"{fabric.world_size} x {where}"))
    job = SearchJob(
        scorer=make_scorer(fabric, net, datamodule, run.task, repair=run.repair),
        searcher=searcher,
        folder=run.folder,
        constraint=run.constraint,
        class_names=getattr(datamodule, "class_names", None) or None,
        preprocessing=preprocessing_of(datamodule),
        halving=run.halving,
        measurements=measurements,
    )
    return job, datamodule


def _start(run: SearchSpec, datamodule: Any, devices: str) -> RenderableType:
    """The panel at the start."""
    facts = {
        "supernet": str(run.checkpoint),
        "data": f"{type(datamodule).__name__}, {datamodule.num_classes} classes",
        "devices": devices,
        "run folder": str(run.folder),
    }
    net = run.net
    return start_panel(
        net.space, num_classes=net.num_classes, constraint=run.constraint, facts=facts
    )


def next_steps(run: SearchSpec) -> str:
    """The exact command that a user may want now."""
    return f"what comes next\n  train it alone:  {retrain_command(run.folder)}"


if __name__ == "__main__":
    main()
