"""What carries out a resolved run: data module, callbacks, loggers, trainer, fabric, scorer.

Hydra makes them from the sections of the run; here stands what its `instantiate` cannot say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ProgressBar

from vitsearch.commands.launch import limit_waiting
from vitsearch.commands.spec import without_phases
from vitsearch.errors import CheckpointError, ConfigError, MissingExtraError
from vitsearch.lightning import Classifier
from vitsearch.lightning.objectives.named import find_object
from vitsearch.lightning.resuming.checkpoints import TrainingCheckpoint
from vitsearch.lightning.scoring.repair import CALIBRATION_IMAGES, calibrate_on
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Task
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.supernet import SuperTransformer, VisionTransformer
from vitsearch.supernet.storage.checkpoint import check_checkpoint


def make_callbacks(config: DictConfig) -> list[pl.Callback]:
    """The callbacks of a run; no progress bars without `trainer.enable_progress_bar`.

    Raises:
        ConfigError: One is no callback.
    """
    callbacks = []
    for name, settings in without_phases(config).callbacks.items():
        assert isinstance(name, str)
        callback = None if settings is None else instantiate(settings)
        if isinstance(callback, pl.Callback):
            callbacks.append(callback)
        elif callback is not None:
            raise ConfigError(
                f"callbacks.{name}: {type(callback).__name__} is no pytorch_lightning.Callback"
            )
    if config.trainer.get("enable_progress_bar") is False:
        return [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    return callbacks


def make_trainer(config: DictConfig, callbacks: list[pl.Callback]) -> pl.Trainer:
    """The trainer of a run, with its loggers.

    Raises:
        ConfigError: `process_timeout` is not above 0.
        MissingExtraError: A logger needs a package that is not installed.
    """
    loggers = _make_loggers(config.logger)
    trainer: pl.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    limit_waiting(trainer.strategy, config.get("process_timeout", 1800))
    return trainer


def _make_loggers(section: dict[str, Any] | DictConfig) -> list[Any]:
    loggers = []
    for name, logger in section.items():
        assert isinstance(name, str)
        try:
            loggers.append(instantiate(logger))
        except Exception as error:
            if isinstance(error.__cause__, ModuleNotFoundError):
                raise MissingExtraError(
                    f"logger={name} needs a package that is not installed: "
                    f"pip install 'vitsearch[{name}]'"
                ) from error
            raise
    return loggers


def checkpoint_of(callbacks: list[pl.Callback], trainer: pl.Trainer) -> Path | None:
    """What an earlier start of this run has left to go on from, if there was one.

    Raises:
        CheckpointError: It is damaged.
        FormatError: A newer version has written it.
    """
    for callback in callbacks:
        if isinstance(callback, TrainingCheckpoint) and callback.path(trainer).is_file():
            check_checkpoint(callback.path(trainer))
            return callback.path(trainer)
    return None


def space_for(model: DictConfig, space: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a space as the module of a section trains it; see `space_config`.

    Raises:
        ConfigError: There is no such module.
    """
    fit = getattr(find_object(model._target_, "model._target_"), "space_config", None)
    return space if fit is None else dict(fit(space))


def make_classifier(section: Any, network: VisionTransformer, name: str) -> Classifier:
    """The module that trains one network.

    Args:
        section: Its class and settings, plain.
        network: What it trains.
        name: Of the section, for messages.

    Raises:
        ConfigError: A setting is unknown or out of range, or the class is no `Classifier`.
    """
    try:
        made = instantiate(section, _partial_=True)(network)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error
    if not isinstance(made, Classifier):
        raise ConfigError(
            f"{name}._target_={section.get('_target_')} is no subclass of "
            f"vitsearch.lightning.Classifier"
        )
    return made


def make_datamodule(section: DictConfig, checkpoint: Path, net: SuperTransformer) -> Any:
    """The data module of a section, for a trained supernet.

    Raises:
        CheckpointError: It has another number of classes than the supernet.
    """
    datamodule = instantiate(section)
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
    fabric.launch()
    datamodule.prepare_data()
    datamodule.setup("fit")


def make_task(section: Any) -> Task | None:
    """The task of a section `model.task`; `None` stands for classification.

    Raises:
        ConfigError: It is none.
    """
    task = None if section is None else instantiate(section)
    if task is not None and not isinstance(task, Task):
        raise ConfigError(
            f"model.task._target_={section.get('_target_')} is no subclass of "
            f"vitsearch.lightning.tasks.Task"
        )
    return task


def make_scorer(
    fabric: Fabric,
    net: SuperTransformer,
    datamodule: Any,
    task: Task | None = None,
    *,
    repair: bool = False,
) -> Scorer:
    """Scores on the search split, with statistics, and repaired if so, from training images."""
    calibration = None
    if repair:
        images = datamodule.sample_dataloader(CALIBRATION_IMAGES)
        calibration = calibrate_on(fabric.device, net, images)
    return Scorer(
        net,
        datamodule.search_dataloader(shard=False),
        [read_images(batch) for batch in datamodule.statistics_dataloader()],
        device=fabric.device,
        task=task,
        autocast=fabric.autocast,
        calibration=calibration,
    )
