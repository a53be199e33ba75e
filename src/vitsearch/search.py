"""`python -m vitsearch.search checkpoint=<run or ckpt>`: another budget from the same supernet."""

from __future__ import annotations

import copy
from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch.commands.command import (
    check_seed,
    command,
    quiet_warnings,
    refuse_distributed_multirun,
    required_space,
    save_config,
)
from vitsearch.commands.launch import fit_to_launch
from vitsearch.commands.supernet_setup import (
    launch,
    make_datamodule,
    make_fabric,
    make_scorer,
    run_data,
)
from vitsearch.data import preprocessing_of
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.scoring.halving import Halving
from vitsearch.lightning.search.callback import make_report, search_and_report
from vitsearch.lightning.search.factory import (
    make_constraint,
    make_searcher,
)
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.reports import make_console, start_panel
from vitsearch.runs.launch import is_first_process
from vitsearch.runs.layout import MEASURED_FILE
from vitsearch.runs.resume import finished_line, is_finished, mark_finished, retrain_command
from vitsearch.spaces import SearchSpace
from vitsearch.supernet.storage.checkpoint import find_checkpoint, load_supernet


@command("search", resumes=True)
def main(config: DictConfig, folder: Path) -> None:
    """Load a supernet, search it; goes on where the run folder's search has stopped."""
    refuse_distributed_multirun(config)
    fit_to_launch(config.trainer)
    quiet_warnings()
    check_seed(config.seed)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    checkpoint = find_checkpoint(config.checkpoint)
    expected = None if config.get("space") is None else SearchSpace(required_space(config))
    net = load_supernet(checkpoint, space=expected)
    data = run_data(config, checkpoint, net.space)
    config.checkpoint = str(checkpoint.absolute())
    if is_finished(config, folder):
        if is_first_process():
            print(f"vitsearch: {finished_line(folder)}")
        return
    datamodule = make_datamodule(data, checkpoint, net)
    constraint = make_constraint(OmegaConf.to_container(config.constraint, resolve=True))  # type: ignore[arg-type]
    halving = check_flag("halving", config.get("halving", False))
    report = check_flag("report", config.get("report", True))
    fabric = make_fabric(config.trainer)
    measurements = Measurements(
        net.space,
        net.num_classes,
        constraint.measure,
        search_device=fabric.device,
        file=folder / MEASURED_FILE,
    )
    searcher = make_searcher(
        instantiate(one_phase(config.searcher)),
        net.space,
        constraint,
        net.num_classes,
        measure=measurements.measures(),
    )
    if halving:
        Halving.check(searcher)
    launch(fabric, config.get("process_timeout", 1800), datamodule)
    if fabric.is_global_zero:
        save_config(config, folder)
        facts = {
            "supernet": str(checkpoint),
            "data": f"{type(datamodule).__name__}, {datamodule.num_classes} classes",
            "devices": f"{fabric.world_size} x {fabric.device.type}",
            "run folder": str(folder),
        }
        make_console().print(
            start_panel(net.space, num_classes=net.num_classes, constraint=constraint, facts=facts)
        )
    with measurements:
        search_and_report(
            make_scorer(fabric, net, datamodule),
            searcher,
            folder,
            constraint=constraint,
            class_names=getattr(datamodule, "class_names", None) or None,
            preprocessing=preprocessing_of(datamodule),
            test=(lambda: list(datamodule.test_dataloader(shard=False)))
            if config.use_test_split
            else None,
            halving=halving,
            measurements=measurements,
        )
    if report:
        make_report(folder)
    if fabric.is_global_zero:
        mark_finished(folder)
        step = f"what comes next\n  train it alone:  {retrain_command(folder)}"
        make_console().print(step, highlight=False, markup=False, soft_wrap=True)


def one_phase(searcher: DictConfig) -> DictConfig:
    """The section of the searcher without `phases`, which take a training.

    Raises:
        ConfigError: There are phases.
    """
    if searcher.get("phases"):
        raise ConfigError(
            "searcher.phases needs python -m vitsearch.train, which trains between phases; "
            "searcher.phases=null searches everything at once"
        )
    own = copy.deepcopy(searcher)
    with open_dict(own):
        own.pop("phases", None)
    return own


if __name__ == "__main__":
    main()
