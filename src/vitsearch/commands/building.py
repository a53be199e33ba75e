"""What the commands share that train: settings that could not train, callbacks, loggers.

Hydra is used by the entry points and the modules that they share, nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ProgressBar

from vitsearch.errors import ConfigError, MissingExtraError
from vitsearch.lightning import Classifier
from vitsearch.lightning.resuming.checkpoints import TrainingCheckpoint
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.checkpoint import check_checkpoint

TRIAL = "trainer.fast_dev_run: everything ran; nothing was searched, scored or saved"
"""What a trial says in place of the next steps."""


def check_training(config: DictConfig) -> None:
    """Refuse a training that could not train.

    Raises:
        ConfigError: It has no end, or ends before it begins.
    """
    experiment: Any = config.get("experiment")  # a file that was found has been merged
    if experiment is not None:
        raise ConfigError(f"experiment={experiment} is no file on the search path")
    epochs = config.trainer.get("max_epochs")
    steps = config.trainer.get("max_steps")
    if steps not in (None, -1) and not _counts(steps):
        raise ConfigError(f"trainer.max_steps={steps} must be a whole number, 1 or more, or -1")
    if steps in (None, -1) and not _counts(epochs):
        raise ConfigError(
            f"trainer.max_epochs={epochs} must be a whole number, 1 or more; -1 needs "
            f"trainer.max_steps"
        )
    if epochs not in (None, -1) and not _counts(epochs):
        raise ConfigError(f"trainer.max_epochs={epochs} must be a whole number, 1 or more, or -1")


def _counts(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def make_callbacks(config: DictConfig, trainer: DictConfig) -> list[pl.Callback]:
    """The callbacks that the configuration names.

    Args:
        config: The section of callbacks.
        trainer: That of the trainer; without `enable_progress_bar` there are no progress bars.

    Raises:
        ConfigError: One is no callback.
    """
    callbacks = []
    for name, section in config.items():
        assert isinstance(name, str)
        callback = None if section is None else instantiate(section)
        if isinstance(callback, pl.Callback):
            callbacks.append(callback)
        elif callback is not None:
            raise ConfigError(
                f"callbacks.{name}: {type(callback).__name__} is no pytorch_lightning.Callback"
            )
    if trainer.get("enable_progress_bar") is False:
        return [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    return callbacks


def make_loggers(config: dict[str, Any] | DictConfig) -> list[Any]:
    """The loggers that the configuration names.

    Raises:
        MissingExtraError: One needs a package that is not installed.
    """
    loggers = []
    for name, logger in config.items():
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
