"""Reads a checkpoint of any common form into a flat state dict; no code from a file runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vitsearch.errors import CheckpointError
from vitsearch.supernet.storage.weights import read_torch_file

CONTAINERS = ("model", "state_dict", "model_ema")
WRAPPER = "module."


def read_state(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the device they were given on, from files on the CPU.

    A state dict may lie under `model`, `state_dict` or `model_ema` (the first of these that is
    there is taken), and all names may carry the prefix `module.`. Entries that are no tensors, and
    `num_batches_tracked`, are left out.

    Args:
        source: A state dict, or a file: `.safetensors`, else one that `torch.save` wrote.

    Raises:
        CheckpointError: The file cannot be read without running code from it, or has no tensors.
    """
    content = source if isinstance(source, Mapping) else _read_file(source)
    inside = (content.get(key) for key in CONTAINERS)
    nested = next((value for value in inside if isinstance(value, Mapping)), content)
    state = {
        str(name): tensor
        for name, tensor in nested.items()
        if isinstance(tensor, Tensor) and not str(name).endswith("num_batches_tracked")
    }
    if not state:
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"{describe_source(source)} has no tensors by name, at its top or under "
            f"{', '.join(CONTAINERS)}; it has {found}"
        )
    if all(name.startswith(WRAPPER) for name in state):
        state = {name.removeprefix(WRAPPER): tensor for name, tensor in state.items()}
    return state


def describe_source(source: str | Path | Mapping[str, Any]) -> str:
    """A source in an error message."""
    return "state dict" if isinstance(source, Mapping) else f"checkpoint {source}"


def _read_file(source: str | Path) -> Mapping[str, Any]:
    if not isinstance(source, str | Path):
        raise CheckpointError(
            f"source of type {type(source).__name__} must be a state dict or the path of a file"
        )
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} is no file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)  # type: ignore[no-any-return]
    except SafetensorError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    # DeiT-style training files carry their arguments beside the weights; it is plain data.
    content = read_torch_file(path, classes=[argparse.Namespace])
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"checkpoint {path} holds a {type(content).__name__}, not tensors by name"
        )
    return content
