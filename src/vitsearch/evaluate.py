"""`python -m vitsearch.evaluate model=<folder>`: how good a finished network is, and how fast.

Thin: it reads the configuration and hands the pieces to `lightning/evaluation/run.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from vitsearch.commands.command import check_seed, command, fail, quiet_warnings, save_config
from vitsearch.commands.launch import fit_to_launch
from vitsearch.commands.model_setup import given_model, model_data, spell_out_model
from vitsearch.commands.supernet_setup import launch, make_fabric
from vitsearch.errors import ConfigError
from vitsearch.lightning.evaluation.run import Evaluation, EvaluationSettings, evaluate
from vitsearch.lightning.evaluation.speed import speed_settings
from vitsearch.reports import make_console
from vitsearch.reports.pictures.evaluation import write_evaluation_plots
from vitsearch.reports.terminal.evaluation_table import evaluation_panel, evaluation_tables


@command("evaluate")
def run(config: DictConfig, folder: Path) -> None:
    """Load a network, evaluate it on a split of its data or of other data."""
    fit_to_launch(config.trainer)
    quiet_warnings()
    check_seed(config.seed)
    given = given_model(config)
    settings = read_settings(config)
    datamodule = model_data(config, given, batch_size=config.batch_size)
    fabric = make_fabric(config.trainer)
    launch(fabric, config.process_timeout, datamodule)
    console = make_console() if fabric.is_global_zero else None
    if console is not None:
        save_config(config, folder)
    found = evaluate(given, datamodule, fabric, settings, console=console)
    if console is not None:
        show(found, folder, console)


def read_settings(config: DictConfig) -> EvaluationSettings:
    """Check what to do before the data is read.

    Raises:
        ConfigError: A setting is out of range.
        ConstraintError: So is one of `speed`.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    size = config.batch_size
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ConfigError(f"batch_size={size} must be a whole number, 1 or more, or null")
    speed, memory = speed_settings(plain["speed"]) if plain["speed"] else ([], False)
    return EvaluationSettings(
        split=config.split,
        calibration_bins=config.calibration_bins,
        speed=speed,
        memory=memory,
    )


def show(found: Evaluation, folder: Path, console: Console) -> None:
    """Write the files, print what they say."""
    files = [*found.write(folder), *write_evaluation_plots(found.facts, folder)]
    console.print(evaluation_panel(found.facts))
    for table in evaluation_tables(found.facts):
        console.print(table)
    names = ", ".join(file.name for file in files)
    line = f"written to {folder}: {names}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """The command."""
    if any(argument == "-m" or argument.startswith("--m") for argument in sys.argv[1:]):
        fail("--multirun is not for evaluations; evaluate one network at a time")
    spell_out_model()
    run()


if __name__ == "__main__":
    main()
