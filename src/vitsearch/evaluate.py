"""`python -m vitsearch.evaluate model=<folder>`: how good a finished network is, and how fast.

Thin: it reads the configuration and hands the pieces to `lightning/evaluation/run.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from vitsearch.commands import data_section
from vitsearch.commands.command import command
from vitsearch.commands.finished_model import (
    given_model,
    make_fitting_datamodule,
    segmentation_of,
)
from vitsearch.commands.pieces import launch, make_fabric
from vitsearch.commands.session import Session, save_config
from vitsearch.commands.spec import with_settings
from vitsearch.errors.checks import check_whole
from vitsearch.lightning.evaluation.masks import MaskEvaluation, evaluate_masks
from vitsearch.lightning.evaluation.run import Evaluation, EvaluationSettings, evaluate
from vitsearch.lightning.evaluation.speed import speed_settings
from vitsearch.reports.pictures.evaluation import write_evaluation_plots
from vitsearch.reports.pictures.segmentation import write_mask_plots
from vitsearch.reports.terminal.evaluation_table import evaluation_panel, evaluation_tables
from vitsearch.reports.terminal.segmentation_table import mask_tables


@command(
    "evaluate", no_sweep="is not for evaluations; evaluate one network at a time", takes_model=True
)
def main(config: DictConfig, session: Session) -> None:
    """Load a network, evaluate it on a split of its data or of other data."""
    given = given_model(config)
    task = segmentation_of(given)
    settings = read_settings(config)
    data = data_section.of_network(config.get("data"), given, batch_size=config.batch_size)
    datamodule = make_fitting_datamodule(data, given.network)
    fabric = make_fabric(config.trainer)
    launch(fabric, config.process_timeout, datamodule)
    console = session.console if session.is_first else None
    if console is not None:
        save_config(with_settings(config, {"data": data}), session.folder)
    session.compute_on(fabric.device, given.network.space, config)
    found: Evaluation | MaskEvaluation
    if task is None:
        found = evaluate(given, datamodule, fabric, settings, console=console)
    else:
        found = evaluate_masks(given, datamodule, fabric, settings, task, console=console)
    if console is not None:
        show(found, session.folder, console)


def read_settings(config: DictConfig) -> EvaluationSettings:
    """Check what to do before the data is read.

    Raises:
        ConfigError: A setting is out of range.
        ConstraintError: So is one of `speed`.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    size = config.batch_size
    if size is not None:
        check_whole("batch_size", size, 1, otherwise="null")
    speed, memory = speed_settings(plain["speed"]) if plain["speed"] else ([], False)
    return EvaluationSettings(
        split=config.split,
        calibration_bins=config.calibration_bins,
        speed=speed,
        memory=memory,
    )


def show(found: Evaluation | MaskEvaluation, folder: Path, console: Console) -> None:
    """Write the files, print what they say."""
    if isinstance(found, MaskEvaluation):
        plots = write_mask_plots(found.facts, found.examples, folder)
        tables = mask_tables(found.facts)
    else:
        plots = write_evaluation_plots(found.facts, folder)
        tables = evaluation_tables(found.facts)
    files = [*found.write(folder), *plots]
    console.print(evaluation_panel(found.facts))
    for table in tables:
        console.print(table)
    names = ", ".join(file.name for file in files)
    line = f"written to {folder}: {names}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
