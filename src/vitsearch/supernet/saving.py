"""Model folders that describe themselves: architecture.json and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitsearch.errors import CheckpointError
from vitsearch.files import atomic_folder, write_json
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.vision_transformer import VisionTransformer

ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "model.safetensors"


def describe_model(
    network: VisionTransformer, *, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """What `architecture.json` holds: the space, the architecture, the classes, the cost."""
    cost = network.cost()
    return {
        "space": network.space.config,
        "architecture": network.architecture.to_dict(),
        "digest": network.architecture.digest,
        "num_classes": network.num_classes,
        "class_names": None if class_names is None else list(class_names),
        "macs": cost.macs,
        "params": cost.params,
    }


def save_model(
    network: VisionTransformer,
    folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write a network into a folder, which is replaced whole if it exists; returns the folder."""
    target = Path(folder)
    with atomic_folder(target) as temporary:
        write_json(temporary / ARCHITECTURE_FILE, describe_model(network, class_names=class_names))
        state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(state, temporary / WEIGHTS_FILE, metadata={"format": "pt"})
    return target


def load_model(folder: str | Path) -> VisionTransformer:
    """The network that `save_model` wrote, in eval mode. No code from the folder is run.

    Raises:
        CheckpointError: A file is missing or damaged, or weights do not fit the architecture.
    """
    source = Path(folder)
    for name in (ARCHITECTURE_FILE, WEIGHTS_FILE):
        if not (source / name).is_file():
            raise CheckpointError(f"{source} is no model folder: {name} is missing")
    try:
        described = json.loads((source / ARCHITECTURE_FILE).read_text(encoding="utf-8"))
        space = SearchSpace(described["space"])
        architecture = Architecture.from_dict(described["architecture"])
        network = VisionTransformer(space, architecture, num_classes=described["num_classes"])
        state = load_file(source / WEIGHTS_FILE)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:  # ValueError: JSON, ours
        raise CheckpointError(f"model folder {source} is damaged: {error}") from error
    check_state(network.state_dict(), state, f"model folder {source}")
    network.load_state_dict(state)
    return network.eval()


def check_state(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that do not fit, by name.

    Raises:
        CheckpointError: Lists missing, extra and misshapen tensors.
    """
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in expected]
    misshapen = [
        f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    refuse_misfits(source, missing=missing, extra=extra, misshapen=misshapen)


def refuse_misfits(source: str, **misfits: Sequence[str]) -> None:
    """Raise if there are any; `misfits` has names of tensors by what is wrong with them.

    Raises:
        CheckpointError: One line with the first five of each kind.
    """
    problems = []
    for word, names in misfits.items():
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            problems.append(f"{word}: {', '.join(names[:5])}{more}")
    if problems:
        raise CheckpointError(f"{source} does not fit: {'; '.join(problems)}")
