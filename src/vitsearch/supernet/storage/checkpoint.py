"""Reads a supernet back from `supernet.ckpt`, with `weights_only=True`: no code from the file runs.

The checkpoint is Lightning's, with an entry `vitsearch` that holds the space and the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vitsearch.elastic.gates import fold_gates
from vitsearch.errors import CheckpointError
from vitsearch.runs.formats import with_format, without_format
from vitsearch.runs.layout import SUPERNET_FILE
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.words import pixels_in_words
from vitsearch.supernet.storage.weights import (
    DAMAGE,
    check_state,
    damaged,
    read_torch_file,
)
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.vision_transformer import VisionTransformer

ENTRY = "vitsearch"
NETWORK_PREFIX = "net."
GATES_PREFIX, GATES_SUFFIX = "penalty.gates.", ".weight"
NETWORK_ENTRY = "vitsearch_network"


def supernet_entry(network: SuperTransformer) -> dict[str, Any]:
    """What a checkpoint must carry besides weights to be read without its module's class."""
    return with_format(
        {
            "space": network.space.config,
            "num_classes": network.num_classes,
            "sharing": network.sharing,
        }
    )


def network_entry(network: VisionTransformer) -> dict[str, Any]:
    """What the checkpoint of one network's training must carry to say which network it is."""
    return with_format(
        {
            "space": network.space.config,
            "architecture": network.architecture.to_dict(),
            "num_classes": network.num_classes,
        }
    )


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint file of a run folder, or the file itself.

    Raises:
        CheckpointError: There is none.
    """
    given = Path(path)
    found = given / SUPERNET_FILE if given.is_dir() else given
    if not found.is_file():
        raise CheckpointError(
            f"checkpoint={given} has no supernet: give a run folder with {SUPERNET_FILE}, or a "
            f".ckpt file"
        )
    return found


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A supernet checkpoint as a dictionary.

    Raises:
        CheckpointError: The file is missing, damaged, or no supernet of this library.
        FormatError: A newer version has written it.
    """
    return _read(find_checkpoint(path), ENTRY, "supernet")


def read_network_entry(file: Path) -> dict[str, Any]:
    """Which network a `network.ckpt` trains; see `network_entry`.

    Raises:
        CheckpointError: The file is damaged, or no network of this library.
        FormatError: A newer version has written it.
    """
    entry: dict[str, Any] = _read(file, NETWORK_ENTRY, "network")[NETWORK_ENTRY]
    return entry


def check_checkpoint(file: Path) -> None:
    """Refuse a file that training cannot go on from, before Lightning reads it.

    Raises:
        CheckpointError: It is damaged.
        FormatError: A newer version has written it.
    """
    checkpoint = read_torch_file(file, device="meta", mmap=True)
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise CheckpointError(f"checkpoint {file} is damaged: it has no state_dict")
    for entry in (ENTRY, NETWORK_ENTRY):
        if entry in checkpoint:
            _entry(checkpoint, entry, file)


def _read(file: Path, entry: str, kind: str) -> dict[str, Any]:
    checkpoint = read_torch_file(file)
    if not isinstance(checkpoint, dict) or entry not in checkpoint:
        raise CheckpointError(
            f"checkpoint {file} is no {kind} of vitsearch: it has no entry {entry!r}"
        )
    return {**checkpoint, entry: _entry(checkpoint, entry, file)}


def _entry(checkpoint: Mapping[str, Any], entry: str, file: Path) -> dict[str, Any]:
    found = checkpoint[entry]
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"checkpoint {file} is damaged: its entry {entry!r} holds no values by name"
        )
    return without_format(found, f"checkpoint {file}")


def load_supernet(path: str | Path, *, space: SearchSpace | None = None) -> SuperTransformer:
    """The supernet of a run folder or checkpoint, in eval mode on the CPU.

    Args:
        path: Run folder or `.ckpt` file.
        space: If given, the space that the checkpoint must be of.

    Raises:
        CheckpointError: Missing, damaged, of another space, or not fitting its space.
        FormatError: A newer version has written it.
    """
    checkpoint = read_checkpoint(path)
    entry, tensors = checkpoint[ENTRY], checkpoint.get("state_dict")
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"checkpoint {path} is damaged: its state_dict holds no tensors")
    try:
        found = SearchSpace(entry["space"])
        settings = {
            "num_classes": entry["num_classes"],
            "sharing": entry.get("sharing", "prefix"),
        }
        with torch.device("meta"):  # sizes first: weights that do not fit take no memory
            expected = SuperTransformer(found, **settings).state_dict()
    except DAMAGE as error:
        raise damaged(f"checkpoint {path}", error) from error
    if space is not None and found != space:
        raise CheckpointError(
            f"checkpoint {path} is of another space: it holds {describe_space(found)}, "
            f"not {describe_space(space)}"
        )
    state = {
        name.removeprefix(NETWORK_PREFIX): tensor
        for name, tensor in tensors.items()
        if str(name).startswith(NETWORK_PREFIX) and isinstance(tensor, torch.Tensor)
    }
    check_state(expected, state, f"checkpoint {path}")
    network = SuperTransformer(found, **settings)
    network.load_state_dict(state)
    try:
        fold_gates(network, _gates(tensors))
    except DAMAGE as error:
        raise damaged(f"checkpoint {path}", error) from error
    return network.eval()


def _gates(tensors: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The gates of a training that shrinks, which multiply weights; none in other checkpoints."""
    return {
        name.removeprefix(GATES_PREFIX).removesuffix(GATES_SUFFIX): tensor
        for name, tensor in tensors.items()
        if str(name).startswith(GATES_PREFIX)
    }


def describe_space(space: SearchSpace) -> str:
    """A space in a few words, enough to tell two apart."""
    free = sum(len(choice.options) > 1 for choice in space.choices)
    size = pixels_in_words(space.image_size)
    return f"{space.name} ({size}, {space.in_chans} channels, {free} free choices)"
