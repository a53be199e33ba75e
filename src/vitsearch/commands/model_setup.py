"""What the commands share that begin with a finished network: the network, its data, its folder.

Hydra is used by the entry points and the modules that they share, nowhere else.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch.data import preprocessing_of
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.runs.layout import CONFIG_FILE
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.given import GivenModel, is_published, load_given, model_folder

_NORMALISATION = ("mean", "std")
_TOLERANCE = 1e-4


def result_folder(model: str | None, name: str) -> str:
    """Where a command's results go by default, for the configuration: into the model's run.

    Hydra makes this folder, so a model that is not there must be found out here.

    Raises:
        CheckpointError: There is no model.
        SpaceError: It is no folder and no published name.
    """
    if model is None:
        raise CheckpointError(
            f"no model: add model=<run folder, model folder or published name> to {name}"
        )
    if is_published(model):
        return str(Path("outputs") / name / model)
    folder = model_folder(model)
    run = run_of(folder)
    return str(Path("outputs") / name / folder.absolute().name if run is None else run / name)


OmegaConf.register_new_resolver("result_folder", result_folder, replace=True)


def spell_out_model() -> None:
    """Let `model=<path>` on the command line mean `model.path=<path>`.

    `model` is also a group of configurations, of training; Hydra would look for the path in it.
    """
    sys.argv[1:] = [
        f"model.path={argument.removeprefix('model=')}"
        if argument.startswith("model=")
        else argument
        for argument in sys.argv[1:]
    ]


def run_of(folder: Path) -> Path | None:
    """The run folder that a model folder lies in, if it does."""
    above = folder.absolute().parent
    return above if (above / CONFIG_FILE).is_file() else None


def given_model(config: DictConfig) -> GivenModel:
    """The network that a command was given by `model` and `checkpoint`.

    Raises:
        CheckpointError: It cannot be loaded.
        SpaceError: There is no such model.
    """
    return load_given(str(config.model.path), config.checkpoint)


def model_data(config: DictConfig, given: GivenModel, *, batch_size: int | None = None) -> Any:
    """The data module: of the command's section, else of that of the run that the model lies in.

    Image size and channels are the network's. So is the normalisation, where the data module takes
    one and the section names none. Nothing is trained, so there may be fewer training images than
    a batch of training has.

    Args:
        config: Its `data` is filled in.
        given: The network.
        batch_size: Images in a batch; as the section says by default.

    Raises:
        CheckpointError: There is no section, or its classes are not the network's.
        ConfigError: Its images are not of the network's kind.
    """
    network = given.network
    if config.get("data") is None:
        run = None if given.folder is None else run_of(given.folder)
        saved = None if run is None else OmegaConf.select(OmegaConf.load(run / CONFIG_FILE), "data")
        if saved is None:
            raise CheckpointError(
                f"the data of {given.source} is unknown: it lies in no run folder; add data=<name> "
                f"and its settings"
            )
        with open_dict(config):
            config.data = saved
    with open_dict(config.data):
        config.data.update(_fitting(config.data, network))
        config.data.update(_evaluating(config.data, batch_size))
    datamodule = instantiate(config.data)
    check_classes(network, datamodule.num_classes, getattr(datamodule, "class_names", None))
    check_images(network, datamodule)
    return datamodule


def _fitting(section: DictConfig, network: VisionTransformer) -> dict[str, Any]:
    """Settings of a data section that the network decides."""
    own: dict[str, Any] = {"image_size": network.plan.image_size, "in_chans": network.plan.in_chans}
    found = {name: value for name, value in own.items() if name in section}
    if network.has_stated_preprocessing:
        taken = inspect.signature(get_object(section._target_)).parameters
        found |= {
            name: list(network.pretrained_cfg[name])
            for name in _NORMALISATION
            if name in taken and section.get(name) is None
        }
    return found


def _evaluating(section: DictConfig, batch_size: int | None) -> dict[str, int]:
    """Settings of a data section that is only evaluated."""
    if "batch_size" not in section:
        return {}
    size = batch_size or section.get("eval_batch_size") or 4 * section.batch_size
    return {"batch_size": 1, "eval_batch_size": size}


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
    for name in ("image_size", "in_chans"):
        own, other = getattr(plan, name), getattr(datamodule, name, None)
        if other not in (None, own):
            raise ConfigError(f"the data has {name}={other}, the network takes {name}={own}")
    if not network.has_stated_preprocessing:
        return
    for name in _NORMALISATION:
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
