"""Weights from files of unknown origin: read without running code, and checked before they load."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitsearch.errors import CheckpointError, UnknownPartError

_SHOWN = 5
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

DAMAGE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What building from malformed descriptions raises, the library's own errors included."""


def read_torch_file(
    path: Path, *, classes: Iterable[Any] = (), device: str = "cpu", mmap: bool = False
) -> Any:
    """What `torch.save` wrote; no code from the file runs.

    Args:
        path: The file.
        classes: May be in it besides tensors and plain data.
        device: Where tensors go; `meta` leaves their numbers in the file.
        mmap: Whether to read numbers when they are asked for.

    Raises:
        CheckpointError: It cannot be read without running code, or is damaged.
    """
    try:
        with torch.serialization.safe_globals(list(classes)):
            return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except Exception as error:  # unpickling what is no checkpoint raises anything, KeyError too
        raise CheckpointError(f"checkpoint {path} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why, in our words: PyTorch's many lines advise to switch its protection off."""
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds {found[1]}, which only code can build; save its state dict alone"
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
        return str(error.strerror)
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return "it is damaged, or torch.save did not write it"


def damaged(source: str, error: Exception) -> CheckpointError:
    """What to raise where nothing can be built from a description: damaged, or a part is missing.

    Args:
        source: What was read, and from where.
        error: What building raised.
    """
    if isinstance(error, UnknownPartError):
        return CheckpointError(
            f"{source} needs a part that is not installed here (vitsearch.parts): {error}"
        )
    words = next(iter(str(error).splitlines()), type(error).__name__)
    if isinstance(error, KeyError):
        words = f"it has no {error.args[0]}"
    return CheckpointError(f"{source} is damaged: {words}")


def check_state(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that do not fit, by name.

    Args:
        expected: Of the network; on the device `meta`, too.
        given: What was read.
        source: Where from, for the message.

    Raises:
        CheckpointError: Lists missing, extra and misshapen tensors, or those that `check_numbers`
            refuses.
    """
    refuse_misfits(
        source,
        missing=[name for name in expected if name not in given],
        extra=[name for name in given if name not in expected],
        misshapen=[
            f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ],
    )
    check_numbers(
        {name: given[name] for name, own in expected.items() if own.is_floating_point()}, source
    )


def check_numbers(given: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors that no training leaves.

    Raises:
        CheckpointError: Some hold no floating-point numbers, or NaN or infinite ones.
    """
    refuse_misfits(
        source,
        **{
            "no floating-point numbers": [
                f"{name} ({str(tensor.dtype).removeprefix('torch.')})"
                for name, tensor in given.items()
                if tensor.dtype not in _FLOATS
            ]
        },
    )
    real = {name: tensor for name, tensor in given.items() if not tensor.is_meta}
    bad = [name for name, tensor in real.items() if not tensor.isfinite().all()]
    refuse_misfits(source, **{"NaN or infinite": bad})


def refuse_misfits(source: str, **misfits: Sequence[str]) -> None:
    """Raise if there are any; `misfits` has names of tensors by what is wrong with them.

    Raises:
        CheckpointError: One line with the first five of each kind.
    """
    problems = []
    for word, names in misfits.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{word}: {', '.join(names[:_SHOWN])}{more}")
    if problems:
        raise CheckpointError(f"{source} does not fit: {'; '.join(problems)}")
