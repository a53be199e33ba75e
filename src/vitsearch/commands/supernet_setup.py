"""What the commands share that begin with a trained supernet: its data, devices, and scores.

Hydra is used by the entry points and the modules that they share, nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch.commands.launch import limit_waiting
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.lightning.distributed import end_with_parent
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.runs.launch import is_started_by_lightning
from vitsearch.runs.layout import CONFIG_FILE
from vitsearch.spaces import SearchSpace
from vitsearch.supernet import SuperTransformer


def run_data(config: DictConfig, checkpoint: Path, space: SearchSpace) -> Any:
    """The data section: the command's, else that of the run that the checkpoint comes from.

    Raises:
        CheckpointError: Neither is there.
    """
    if config.get("data") is None:
        beside = checkpoint.with_name(CONFIG_FILE.name)
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


def make_datamodule(data: DictConfig, checkpoint: Path, net: SuperTransformer) -> Any:
    """The data module of a section.

    Raises:
        CheckpointError: It has another number of classes than the supernet.
    """
    datamodule = instantiate(data)
    if datamodule.num_classes != net.num_classes:
        raise CheckpointError(
            f"checkpoint {checkpoint} was trained on {net.num_classes} classes, the data has "
            f"{datamodule.num_classes}"
        )
    return datamodule


def make_fabric(trainer: DictConfig) -> Fabric:
    """Where the command computes.

    Raises:
        ConfigError: A setting is unknown, or not possible on this machine.
    """
    try:
        return Fabric(**OmegaConf.to_container(trainer, resolve=True))  # type: ignore[arg-type]
    except Exception as error:
        raise ConfigError(f"trainer: {error}") from error


def launch(fabric: Fabric, process_timeout: float, datamodule: Any) -> None:
    """Start the processes; then every one sets the data up.

    Raises:
        ConfigError: The timeout is not above 0.
    """
    limit_waiting(fabric.strategy, process_timeout)
    if is_started_by_lightning():
        end_with_parent()
    fabric.launch()
    datamodule.prepare_data()
    datamodule.setup("fit")


def make_scorer(fabric: Fabric, net: SuperTransformer, datamodule: Any) -> Scorer:
    """Scores on the search split, with statistics from training images."""
    return Scorer(
        net,
        datamodule.search_dataloader(shard=False),
        [read_images(batch) for batch in datamodule.statistics_dataloader()],
        device=fabric.device,
        autocast=fabric.autocast,
    )
