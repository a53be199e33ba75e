"""`python -m vitsearch.search checkpoint=<run or ckpt>`: another budget from the same supernet."""

from __future__ import annotations

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
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.lightning.halving import Halving
from vitsearch.lightning.measuring import MEASURED_FILE, Measurements
from vitsearch.lightning.scoring import Scorer
from vitsearch.lightning.searcher_settings import (
    check_halving,
    make_constraint,
    make_searcher,
)
from vitsearch.lightning.searching import search_and_report
from vitsearch.reports import make_console, start_panel
from vitsearch.spaces import SearchSpace
from vitsearch.supernet.checkpoint import find_checkpoint, load_supernet


@command("search")
def main(config: DictConfig, folder: Path) -> None:
    """Load a supernet, search it."""
    refuse_distributed_multirun(config)
    quiet_warnings()
    check_seed(config.seed)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    checkpoint = find_checkpoint(config.checkpoint)
    expected = None if config.get("space") is None else SearchSpace(required_space(config))
    net = load_supernet(checkpoint, space=expected)
    datamodule = instantiate(run_data(config, checkpoint, net.space))
    if datamodule.num_classes != net.num_classes:
        raise CheckpointError(
            f"checkpoint {checkpoint} was trained on {net.num_classes} classes, the data has "
            f"{datamodule.num_classes}"
        )
    constraint = make_constraint(OmegaConf.to_container(config.constraint, resolve=True))  # type: ignore[arg-type]
    halving = check_halving(config.halving)
    fabric = make_fabric(config.trainer)
    measurements = Measurements(
        net.space,
        net.num_classes,
        constraint.measure,
        search_device=fabric.device,
        file=folder / MEASURED_FILE,
    )
    searcher = make_searcher(
        instantiate(config.searcher),
        net.space,
        constraint,
        net.num_classes,
        measure=measurements.measures(),
    )
    if halving:
        Halving.check(searcher)
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
        )


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
