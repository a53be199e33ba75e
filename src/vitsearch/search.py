"""`python -m vitsearch.search checkpoint=<run or ckpt>`: another budget from the same supernet."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch._command import (
    check_seed,
    command,
    quiet_warnings,
    refuse_distributed_multirun,
    required_space,
    save_config,
)
from vitsearch._launch import (
    fit_to_launch,
    is_first_process,
    is_started_by_lightning,
    limit_waiting,
)
from vitsearch._resume import finished_line, is_finished, mark_finished
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.lightning.halving import Halving
from vitsearch.lightning.measuring import MEASURED_FILE, Measurements
from vitsearch.lightning.processes import end_with_parent
from vitsearch.lightning.scoring import Scorer
from vitsearch.lightning.search_inputs import (
    check_halving,
    make_constraint,
    make_searcher,
)
from vitsearch.lightning.searching import search_and_report
from vitsearch.reports import make_console, start_panel
from vitsearch.spaces import SearchSpace
from vitsearch.supernet.checkpoint import find_checkpoint, load_supernet


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
    datamodule = instantiate(data)
    if datamodule.num_classes != net.num_classes:
        raise CheckpointError(
            f"checkpoint {checkpoint} was trained on {net.num_classes} classes, the data has "
            f"{datamodule.num_classes}"
        )
    constraint = make_constraint(OmegaConf.to_container(config.constraint, resolve=True))  # type: ignore[arg-type]
    halving = check_halving(config.get("halving", False))
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
    limit_waiting(fabric.strategy, config.get("process_timeout", 1800))
    if is_started_by_lightning():
        end_with_parent()
    fabric.launch()
    datamodule.prepare_data()
    datamodule.setup("fit")
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
    scorer = Scorer(
        net,
        datamodule.search_dataloader(shard=False),
        [images for images, _ in datamodule.statistics_dataloader()],
        device=fabric.device,
        autocast=fabric.autocast,
    )
    with measurements:
        search_and_report(
            scorer,
            searcher,
            folder,
            constraint=constraint,
            class_names=getattr(datamodule, "class_names", None),
            test=(lambda: list(datamodule.test_dataloader(shard=False)))
            if config.use_test_split
            else None,
            halving=halving,
            measurements=measurements,
        )
    if fabric.is_global_zero:
        mark_finished(folder)


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


def make_fabric(trainer: DictConfig) -> Fabric:
    """Where the search runs.

    Raises:
        ConfigError: A setting is unknown, or not possible on this machine.
    """
    try:
        return Fabric(**OmegaConf.to_container(trainer, resolve=True))  # type: ignore[arg-type]
    except Exception as error:
        raise ConfigError(f"trainer: {error}") from error


def run_data(config: DictConfig, checkpoint: Path, space: SearchSpace) -> Any:
    """The data section: the command's, else that of the run that the checkpoint comes from.

    Raises:
        CheckpointError: Neither is there.
    """
    if config.get("data") is None:
        beside = checkpoint.with_name("config.yaml")
        if not beside.is_file():
            raise CheckpointError(
                f"{beside} does not exist, so the checkpoint's data is unknown; "
                f"add data=<name> and its settings"
            )
        with open_dict(config):
            config.data = OmegaConf.load(beside).data
    shape = {"image_size": space.image_size, "in_chans": space.in_chans}
    with open_dict(config):
        config.data.update({name: size for name, size in shape.items() if name in config.data})
        config.space = space.config
    return config.data


if __name__ == "__main__":
    main()
