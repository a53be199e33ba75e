"""What the commands share that begin with a finished network: the network, its data, its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vitsearch.commands.architecture_source import task_of_run
from vitsearch.commands.data_section import NORMALISATION, SHAPE, run_of
from vitsearch.commands.pieces import make_task
from vitsearch.data import preprocessing_of
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.lightning.tasks import Segmentation
from vitsearch.runs.layout import MODELS_FOLDER
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.given import GivenModel, is_published, load_given, model_folder

_TOLERANCE = 1e-4


def result_folder(model: str | None, name: str) -> str:
    """Where a command's results go by default, for the configuration: into the model's run.

    Hydra makes this folder, so a model that is not there must be found out here.

    Raises:
        CheckpointError: There is no model.
        SpaceError: It is no folder and no published name.
    """
    if model is None:
        raise CheckpointError("no model: add model=<run folder, model folder or published name>")
    if is_published(model):
        return str(Path("outputs") / name / model)
    folder = model_folder(model)
    run = run_of(folder)
    if run is None:
        return str(Path("outputs") / name / folder.absolute().name)
    is_one_of_several = folder.absolute().parent.name == MODELS_FOLDER.name
    return str(run / name / folder.name if is_one_of_several else run / name)


OmegaConf.register_new_resolver("result_folder", result_folder, replace=True)


def given_model(config: DictConfig) -> GivenModel:
    """The network that a command was given by `model` and `checkpoint`.

    Raises:
        CheckpointError: It cannot be loaded.
        SpaceError: There is no such model.
    """
    return load_given(str(config.model.path), config.checkpoint)


def segmentation_of(given: GivenModel) -> Segmentation | None:
    """The task of a network that says the class of every pixel; `None` for one that classifies.

    Its run says it; without a run it is a network's whose head answers for every pixel.

    Raises:
        ConfigError: The network's run names another task.
    """
    section = _task_of(given)
    task = make_task(section)
    if task is None and given.network.space.head.dense:
        return Segmentation()
    if task is not None and not isinstance(task, Segmentation):
        raise ConfigError(
            f"{given.source} was trained for {(section or {}).get('_target_')}; evaluate knows "
            f"classification and segmentation only, the figures of its task are in result.json"
        )
    return task


def _task_of(given: GivenModel) -> dict[str, Any] | None:
    """What the network's run says that it was trained for; `None` for classification, or no run."""
    return None if given.folder is None else task_of_run(run_of(given.folder))


def refuse_other_tasks(given: GivenModel, what: str) -> None:
    """Refuse a network that was trained for something else than classification.

    Args:
        given: The network.
        what: What knows classification only, for the message.

    Raises:
        ConfigError: The network's run names another task, or it answers for every pixel.
    """
    section = _task_of(given)
    name = None if section is None else section.get("_target_")
    if name is None and given.network.space.head.dense:
        name = "segmentation"
    if name is not None:
        raise ConfigError(
            f"{given.source} was trained for {name}; {what} knows classification only"
        )


def make_fitting_datamodule(section: DictConfig, network: VisionTransformer) -> Any:
    """The data module of a section; its images and classes are the network's.

    Raises:
        CheckpointError: Its classes are not the network's.
        ConfigError: Its images are not of the network's kind.
    """
    datamodule = instantiate(section)
    check_classes(network, datamodule.num_classes, getattr(datamodule, "class_names", None))
    check_images(network, datamodule)
    return datamodule


def check_classes(network: VisionTransformer, num_classes: int, names: Any) -> None:
    """Refuse data of other classes than the network's.

    Raises:
        CheckpointError: Their number, or a name where both know names, is another one.
    """
    if num_classes != network.num_classes:
        raise CheckpointError(
            f"the network tells {network.num_classes} classes apart, the data has {num_classes}"
        )
    if not names or network.class_names is None:
        return
    for index, (own, other) in enumerate(zip(network.class_names, names, strict=True)):
        if own != other:
            raise CheckpointError(
                f"class {index} is {own!r} to the network and {other!r} in the data; both must "
                f"have the same classes in the same order"
            )


def check_images(network: VisionTransformer, datamodule: Any) -> None:
    """Refuse images of another kind than the network was trained on, as far as both say.

    Raises:
        ConfigError: Size, channels or normalisation is another one.
    """
    plan, has = network.plan, preprocessing_of(datamodule)
    for name in SHAPE:
        own, other = getattr(plan, name), getattr(datamodule, name, None)
        if other not in (None, own):
            raise ConfigError(f"the data has {name}={other}, the network takes {name}={own}")
    if not network.has_stated_preprocessing:
        return
    for name in NORMALISATION:
        own, other = network.pretrained_cfg[name], has.get(name)
        if other is None:
            continue
        other = other * plan.in_chans if len(other) == 1 else other
        if not np.allclose(own, other, rtol=0, atol=_TOLERANCE):
            raise ConfigError(
                f"the data is normalised with {name}={list(other)}, but the network was trained "
                f"with {list(own)}; give data that is normalised alike, or a data module that "
                f"takes data.{name}"
            )
