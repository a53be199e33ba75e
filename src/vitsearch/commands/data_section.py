"""The `data` section of a run: its own, or that of the run it comes from, fitted to the network.

Each function returns a section and changes none.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from vitsearch.commands.architecture_source import ArchitectureSource, data_of_run
from vitsearch.commands.spec import with_settings
from vitsearch.data import SearchDataModule
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.runs.layout import CONFIG_FILE, run_of_model
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.words import pixels_in_words
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.given import GivenModel

SHAPE = ("image_size", "in_chans")
NORMALISATION = ("mean", "std")


def agreeing_with_space(
    data: DictConfig, space: dict[str, Any]
) -> tuple[DictConfig, dict[str, Any]]:
    """Data and space with one image size and number of channels: the data's where it names them."""
    named = [name for name in SHAPE if name in data]
    fitted = with_settings(data, {name: space.get(name) for name in named if data[name] is None})
    agreed = OmegaConf.to_container(fitted, resolve=True)
    assert isinstance(agreed, dict)
    return fitted, space | {name: agreed[name] for name in named}


def prepared_as(data: DictConfig, preprocessing: Mapping[str, Any]) -> DictConfig:
    """The section with a network's mean and deviation, where its data module takes them.

    Args:
        data: Its own values stay.
        preprocessing: Of the network: `mean`, `std`.
    """
    return with_settings(data, _normalisation(data, preprocessing))


def of_supernet(data: DictConfig | None, checkpoint: Path, space: SearchSpace) -> DictConfig:
    """The command's section, else that of the run that a checkpoint comes from.

    Raises:
        CheckpointError: Neither is there.
    """
    if data is None:
        beside = checkpoint.with_name(CONFIG_FILE.name)
        if not beside.is_file():
            raise CheckpointError(
                f"{beside} does not exist, so the checkpoint's data is unknown; "
                f"add data=<name> and its settings"
            )
        data = OmegaConf.load(beside).data
    return with_settings(data, {name: getattr(space, name) for name in SHAPE if name in data})


def of_architecture(config: DictConfig, source: ArchitectureSource) -> DictConfig:
    """The command's section, else that of the architecture's run with the command's changes.

    Args:
        config: Of a retraining.
        source: Where its architecture was found.

    Raises:
        ConfigError: Neither is there.
    """
    given = config.get("data")
    if given is None or "_target_" not in given:
        if source.run is None:
            raise ConfigError(
                f"architecture={config.architecture} lies in no run, so its data is unknown; "
                f"add data=<name> and its settings"
            )
        given = OmegaConf.merge(data_of_run(source.run), given or {})
    assert isinstance(given, DictConfig)
    own: dict[str, Any] = {
        name: getattr(source.space, name) for name in SHAPE if name in given and given[name] is None
    }
    if _takes_train_on(get_object(given._target_)):
        own["train_on"] = config.train_on
    return with_settings(given, own)


def of_network(
    data: DictConfig | None, given: GivenModel, *, batch_size: int | None = None
) -> DictConfig:
    """The command's section, else that of the run that a model lies in.

    Image size and channels are the network's. So is the normalisation, where the data module takes
    one and the section names none. Nothing is trained, so there may be fewer training images than
    a batch of training has.

    Args:
        data: The command's section.
        given: The network.
        batch_size: Images in a batch; as the section says by default.

    Raises:
        CheckpointError: There is no section.
    """
    if data is None:
        run = None if given.folder is None else run_of(given.folder)
        data = None if run is None else OmegaConf.select(OmegaConf.load(run / CONFIG_FILE), "data")
        if data is None:
            raise CheckpointError(
                f"the data of {given.source} is unknown: it lies in no run folder; add data=<name> "
                f"and its settings"
            )
    return with_settings(data, _fitting(data, given.network) | _evaluating(data, batch_size))


def run_of(folder: Path) -> Path | None:
    """The run folder that a model folder lies in, if it does."""
    return run_of_model(folder)


def _takes_train_on(made_by: Any) -> bool:
    """Whether a data module can be told which images to train on."""
    parameters = inspect.signature(made_by).parameters
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    ours = isinstance(made_by, type) and issubclass(made_by, SearchDataModule)
    return "train_on" in parameters or (ours and passes_on)


def _fitting(section: DictConfig, network: VisionTransformer) -> dict[str, Any]:
    """Settings of a data section that the network decides."""
    found = {name: getattr(network.plan, name) for name in SHAPE if name in section}
    if network.has_stated_preprocessing:
        found |= _normalisation(section, network.pretrained_cfg)
    return found


def _normalisation(section: DictConfig, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """A network's mean and deviation, if a data module takes them and was given none."""
    taken = inspect.signature(get_object(section._target_)).parameters
    return {
        name: list(preprocessing[name])
        for name in NORMALISATION
        if name in taken and name in preprocessing and section.get(name) is None
    }


def _prepared(section: DictConfig, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """All of a network's preprocessing that a data module takes and was not given."""
    taken = inspect.signature(get_object(section._target_)).parameters
    return {
        name: list(value) if isinstance(value, list | tuple) else value
        for name, value in preprocessing.items()
        if name in taken and section.get(name) is None
    }


def _evaluating(section: DictConfig, batch_size: int | None) -> dict[str, Any]:
    """Settings of a data section that is only evaluated."""
    if "batch_size" not in section:
        return {}
    size = batch_size or section.get("eval_batch_size") or 4 * section.batch_size
    return {"batch_size": 1, "eval_batch_size": size}


def of_original(
    data: DictConfig, space: SearchSpace, preprocessing: Mapping[str, Any]
) -> DictConfig:
    """The section for a pretrained network that is looked at, not trained.

    Image size and channels are the network's; so is the preprocessing, where the data module takes
    it and the section names none.

    Args:
        data: The section.
        space: Of the network.
        preprocessing: How its images were prepared, as far as that is known.

    Raises:
        ConfigError: The section names another image size.
    """
    given = data.get("image_size")
    if given is not None and given != space.image_size:
        own = pixels_in_words(space.image_size)
        raise ConfigError(
            f"data.image_size={given}, but {space.name} sees {own}: add "
            f"image_size={given} (its position embeddings are resampled), or leave "
            f"data.image_size out"
        )
    shape = {name: getattr(space, name) for name in SHAPE if name in data}
    fitted = with_settings(data, shape | _evaluating(data, None))
    return with_settings(fitted, _prepared(fitted, preprocessing))
