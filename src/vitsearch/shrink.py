"""`python -m vitsearch.shrink model=<timm name or folder>`: a pretrained ViT, smaller, untrained.

The module can also be called: `vitsearch.shrink(network, calibration)` is the function of that name
whether or not this module has been imported.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig
from rich.console import RenderableType

from vitsearch import shrinking
from vitsearch.commands.command import command
from vitsearch.commands.pieces import launch, make_fabric
from vitsearch.commands.session import Session
from vitsearch.commands.shrinking.source import FITTED
from vitsearch.commands.shrinking.spec import ShrinkSpec, number_of_images, resolve
from vitsearch.commands.spec import without_phases
from vitsearch.costs import human, reachable_range
from vitsearch.data import preprocessing_of
from vitsearch.errors import ConfigError
from vitsearch.lightning.scoring.repaired import RepairedScorer
from vitsearch.lightning.scoring.splits import first_of
from vitsearch.lightning.search.callback import make_report
from vitsearch.lightning.search.factory import make_searcher
from vitsearch.lightning.search.job import SearchJob
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.lightning.shrinking.preparation import Preparation, Prepared, prepare
from vitsearch.lightning.shrinking.run import Shrinking, run_shrinking
from vitsearch.lightning.tasks import Classification, Task
from vitsearch.lightning.tasks.fidelity import FeatureFidelity
from vitsearch.reports import SearchProgress, facts_panel
from vitsearch.reports.facts.shrunk import Shrunk
from vitsearch.reports.terminal.panels import size_in_words
from vitsearch.reports.terminal.shrink_table import shrink_table, training_line
from vitsearch.runs.command_line import command_text, override, shown_path
from vitsearch.runs.layout import MEASURED_FILE, MODELS_FOLDER
from vitsearch.searchers import FrontSearcher, Searcher
from vitsearch.shrinking.fidelity import features_of
from vitsearch.spaces import Architecture


@command("shrink", resumes=True, takes_model=True)
def main(config: DictConfig, session: Session) -> None:
    """Resolve the shrinking and run it; goes on where the one of the folder has stopped."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    run = resolve(config, session.folder)
    if not session.is_finished(run):
        make_smaller(run, session)


def make_smaller(run: ShrinkSpec, session: Session) -> None:
    """Prepare the network, search it, choose a network for each budget, say what was found."""
    config, datamodule = run.config, run.datamodule
    fabric = make_fabric(config.trainer)
    measurements = Measurements(
        run.net.space,
        run.net.num_classes,
        run.constraint.measure,
        search_device=fabric.device,
        file=run.folder / MEASURED_FILE,
    )
    _searcher(run, measurements)  # refuses settings before there is work
    launch(fabric, config.process_timeout, datamodule)
    where = session.compute_on(fabric.device, run.net.space, config)
    session.begin(run, partial(_start, run, f"{fabric.world_size} x {where}"), notes=run.notes)
    prepared = _prepare(run, session, fabric)
    images = number_of_images(config.search_images, run.net.cost(run.net.largest).macs)
    scorer = RepairedScorer(
        prepared.net,
        first_of(datamodule.search_dataloader(shard=False), images),
        prepared.calibration,
        compares_features=run.by_features,
        device=fabric.device,
        task=_task(run, prepared),
        autocast=fabric.autocast,
    )
    job = SearchJob(
        scorer=scorer,
        searcher=_searcher(run, measurements, (*prepared.initial, *prepared.uniform)),
        folder=run.folder,
        constraint=run.targets.constraint,
        class_names=prepared.net.class_names,
        preprocessing=preprocessing_of(datamodule),
        measurements=measurements,
    )
    shrinks = Shrinking(
        job=job,
        prepared=prepared,
        targets=run.targets,
        finalists=config.finalists,
        facts={"source": run.source, "head": run.head, "importance": config.importance},
        test=partial(datamodule.test_dataloader, shard=False) if config.use_test_split else None,
    )
    console = session.console if session.is_first else None
    progress = SearchProgress(job.searcher.num_candidates, console, scorer.task.figure)
    found = Shrunk.read(run_shrinking(shrinks, progress, session.say))
    if console is not None:
        console.print(shrink_table(found))
    line = training_line(found)
    if line is not None:
        session.say(line)
    if run.config.report:
        make_report(run.folder)
    session.finish(run, partial(next_steps, run, found))


def _prepare(run: ShrinkSpec, session: Session, fabric: Fabric) -> Prepared:
    config, datamodule, net = run.config, run.datamodule, run.net
    net.preprocessing = preprocessing_of(datamodule) or None
    if not run.by_features:
        net.class_names = tuple(datamodule.class_names) or None
    settings = Preparation(
        folder=run.folder,
        targets=run.targets,
        importance=config.importance,
        task=None if run.by_features else Classification(num_classes=net.num_classes),
        fits_head=run.head == FITTED,
        facts={
            "head": run.head,
            "preprocessing": {k: _plain(v) for k, v in run.preprocessing.items()},
        },
    )
    return prepare(
        settings,
        net,
        datamodule.sample_dataloader(config.calibration_images),
        partial(datamodule.sample_dataloader, config.head_images),
        fabric.device,
        session.say,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _task(run: ShrinkSpec, prepared: Prepared) -> Task:
    net = prepared.net
    if not run.by_features:
        return Classification(num_classes=net.num_classes)
    features = features_of(net.extract(net.largest))
    like = next(net.parameters())
    return FeatureFidelity(features_of=lambda images: features(images.to(like)))


def _searcher(
    run: ShrinkSpec, measurements: Measurements, initial: tuple[Architecture, ...] = ()
) -> Searcher:
    """The searcher, which begins with some architectures.

    Raises:
        ConfigError: It finds no front, or a setting is out of range.
    """
    make = instantiate(without_phases(run.config).searcher)
    searcher = make_searcher(
        partial(make, initial=initial) if initial else make,
        run.net.space,
        run.targets.constraint,
        run.net.num_classes,
        measure=measurements.measures(),
    )
    if not isinstance(searcher, FrontSearcher):
        raise ConfigError(
            f"searcher: {type(searcher).__name__} finds one network, and shrinking needs a front; "
            f"use searcher=nsga2"
        )
    return searcher


def _start(run: ShrinkSpec, devices: str) -> RenderableType:
    """The panel at the start."""
    net, data = run.net, run.datamodule
    full = net.cost(net.largest)
    scores = "features like the full network's" if run.by_features else "accuracy"
    low, high = reachable_range(net.space, "macs", net.num_classes)
    facts = {
        "network": f"{run.source}: {human(full.macs)} MACs, {human(full.params)} parameters",
        "smaller ones": f"{size_in_words(net.space.size())}, {human(low)} to {human(high)} MACs",
        "budgets": ", ".join(target.name for target in run.targets.each),
        "scored by": scores,
        "data": f"{type(data).__name__}, {data.num_classes} classes, {data.in_chans} x "
        f"{data.image_size} x {data.image_size}",
        "devices": devices,
        "run folder": str(run.folder),
    }
    return facts_panel(facts)


def next_steps(run: ShrinkSpec, found: Shrunk) -> str:
    """The exact commands that a user may want now."""
    if not found.networks:
        return "what comes next\n  a wider search: more searcher.generations, or another budget"
    model = Path(shown_path(run.folder / MODELS_FOLDER / found.networks[-1].budget))
    lines = (
        ("how good and fast:", command_text("evaluate", override("model", model))),
        ("export it:", command_text("export", override("model", model), "format=onnx")),
        (
            "train it:",
            command_text("retrain", override("architecture", model), "init=inherited"),
        ),
        (
            "any budget, in Python:",
            f"vitsearch.load_elastic({shown_path(run.folder)!r}).at(macs=0.6)",
        ),
    )
    width = max(len(name) for name, _ in lines)
    return "\n".join(["what comes next", *(f"  {n:<{width}}  {text}" for n, text in lines)])


class _CallableModule(ModuleType):
    """This module, which is also the function that people call `vitsearch.shrink`."""

    def __call__(self, *args: Any, **kwargs: Any) -> shrinking.Elastic:
        """See `vitsearch.shrinking.shrink`."""
        return shrinking.shrink(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
