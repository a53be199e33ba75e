"""Model folders that describe themselves: architecture.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.runs.files import atomic_folder, write_json
from vitsearch.runs.formats import read_json, with_format
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.storage.weights import DAMAGE, check_state, damaged
from vitsearch.supernet.timm.preprocessing import PREPROCESSING, default_preprocessing
from vitsearch.supernet.vision_transformer import VisionTransformer

ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "model.safetensors"
RUN_MODELS = ("model", "best")
"""Where a run folder has a model: a retraining's result, a search's."""


def describe_model(
    network: VisionTransformer, *, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """What `architecture.json` holds: space, architecture, classes, preprocessing, cost.

    Args:
        network: What is described.
        class_names: Of its outputs; those that the network knows by default.

    Raises:
        ConfigError: There are not as many class names as classes; or the network was cut.
    """
    if (network.plan, network.global_pool) != (
        network.space.plan(network.architecture).renumbered(),
        getattr(network.plan.head, "pool", ""),
    ):
        raise ConfigError(
            f"the network is no whole architecture of space {network.space.name} any more "
            f"(its features were cut off, or its pooling removed); its state_dict can be saved"
        )
    cost = network.cost()
    names = network.class_names if class_names is None else class_names
    if names is not None:
        names = checked_class_names(names, network.num_classes)
    return {
        "space": network.space.config,
        "architecture": network.architecture.to_dict(),
        "digest": network.architecture.digest,
        "num_classes": network.num_classes,
        "class_names": None if names is None else list(names),
        "pretrained_cfg": _stated_preprocessing(network),
        **cost.to_dict(),
    }


def checked_class_names(names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """A name for each class.

    Raises:
        ConfigError: There are more or fewer, or no list of them.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError(f"class_names={names!r} must be a list of names")
    if len(names) != num_classes:
        raise ConfigError(f"class_names has {len(names)} names for {num_classes} classes")
    return tuple(str(name) for name in names)


def _stated_preprocessing(network: VisionTransformer) -> dict[str, Any] | None:
    """The preprocessing as plain data; `None` where it is only timm's guess."""
    own = {name: network.pretrained_cfg[name] for name in PREPROCESSING}
    if own == default_preprocessing(network.plan.in_chans) and not network.has_stated_preprocessing:
        return None
    return {name: list(v) if isinstance(v, tuple) else v for name, v in own.items()}


def save_model(
    network: VisionTransformer,
    folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write a network into a folder, which is replaced whole if it exists; returns the folder.

    Args:
        network: What to write; its preprocessing (`pretrained_cfg`) goes with it.
        folder: Where.
        class_names: Of its outputs; those that the network knows by default.

    Raises:
        ConfigError: There are not as many class names as classes; or the network was cut to its
            features or has no pooling, and so is no architecture of its space.
    """
    target = Path(folder)
    with atomic_folder(target) as temporary:
        write_model(network, temporary, class_names=class_names)
    return target


def write_model(
    network: VisionTransformer, folder: Path, *, class_names: Sequence[str] | None = None
) -> None:
    """Write a model's two files into a folder that is there; see `save_model`."""
    described = describe_model(network, class_names=class_names)
    write_json(folder / ARCHITECTURE_FILE, with_format(described))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    # safetensors writes files that only their owner can read.
    (folder / WEIGHTS_FILE).chmod((folder / ARCHITECTURE_FILE).stat().st_mode)


def find_model(path: str | Path) -> Path:
    """The model folder that is meant: the folder itself, or a run's.

    Of a run it is `model` (a retraining's result), else `best` (a search's).

    Args:
        path: A model folder, or a run folder.

    Raises:
        CheckpointError: There is none.
    """
    given = Path(path).expanduser()
    for folder in (given, *(given / name for name in RUN_MODELS)):
        if (folder / ARCHITECTURE_FILE).is_file():
            return folder
    raise CheckpointError(
        f"{given} is no model folder: {ARCHITECTURE_FILE} is missing, in it and in its "
        f"{' and '.join(RUN_MODELS)}"
    )


def load_model(folder: str | Path) -> VisionTransformer:
    """The network that `save_model` wrote, in eval mode. No code from the folder is run.

    Args:
        folder: A model folder, or a run folder that has one (see `find_model`).

    Raises:
        CheckpointError: A file is missing or damaged, or weights do not fit the architecture.
        FormatError: A newer version has written it.
    """
    source = find_model(folder)
    if not (source / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{source} is no model folder: {WEIGHTS_FILE} is missing")
    described = read_json(source / ARCHITECTURE_FILE, CheckpointError)
    try:
        space = SearchSpace(described["space"])
        architecture = Architecture.from_dict(described["architecture"])
        num_classes = described["num_classes"]
        with torch.device("meta"):  # sizes first: weights that do not fit take no memory
            expected = VisionTransformer(space, architecture, num_classes).state_dict()
        state = load_file(source / WEIGHTS_FILE)
    except (*DAMAGE, SafetensorError) as error:
        raise damaged(f"model folder {source}", error) from error
    check_state(expected, state, f"model folder {source}")
    network = VisionTransformer(space, architecture, num_classes)
    network.load_state_dict(state)
    try:
        network.set_preprocessing(_known_keys(described.get("pretrained_cfg") or {}))
        names = described.get("class_names")
        if names is not None:
            network.class_names = checked_class_names(names, network.num_classes)
    except DAMAGE as error:
        raise damaged(f"model folder {source}", error) from error
    return network.eval()


def _known_keys(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """What this version understands; a newer one may have written more."""
    return {name: preprocessing[name] for name in PREPROCESSING if name in preprocessing}
