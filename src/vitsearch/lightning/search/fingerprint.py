"""What the scores and proposals of a search depend on, as plain data to compare and to keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from vitsearch.costs import Constraint
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Task
from vitsearch.reports.words.figure import figure_entry
from vitsearch.runs.history import ScoreNames
from vitsearch.searchers import Searcher

_DIGITS = 16


def search_settings(scorer: Scorer, searcher: Searcher) -> dict[str, Any]:
    """By name: the space, the weights, the images, and the searcher with its settings.

    Of the searcher these are the public attributes that are plain data, budgets included, as they
    are before the first proposal.
    """
    net = scorer.net
    space = json.dumps(net.space.config, sort_keys=True, default=str)
    return {
        "space": f"{net.space.name} {_digest([space.encode()])}",
        "num_classes": net.num_classes,
        "sharing": net.sharing,
        "weights": weights_digest(net),
        "images": scorer.num_images,
        "labels": _digest(_bytes(scorer.task.identity(batch)) for batch in scorer.batches),
        **_task(scorer.task),
        **_repair(scorer),
        "searcher": type(searcher).__qualname__,
        **{
            f"searcher.{name}": _plain(value)
            for name, value in sorted(vars(searcher).items())
            if not name.startswith("_") and _is_plain(value)
        },
    }


def _task(task: Task) -> dict[str, Any]:
    """What is scored; a search that says nothing classifies."""
    figures = tuple(figure.name for figure in task.figures)
    names = ScoreNames(figures=figures, counted=task.counted).to_dict()
    return {"task": task.name, **figure_entry(task.figure), **names} if names else {}


def _repair(scorer: Scorer) -> dict[str, Any]:
    """How many images sub-networks are repaired from, if they are."""
    found = scorer.calibration
    return {} if found is None else {"repair": found.num_images}


def weights_digest(net: torch.nn.Module) -> str:
    """A short hash of all weights and buffers, to the last bit."""
    state = net.state_dict()
    return _digest(part for name in state for part in (name.encode(), _bytes(state[name])))


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return bytes(flat.view(torch.uint8).numpy().tobytes())


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:_DIGITS]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(inner) for inner in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(_is_plain(inner) for inner in value)
    return value is None or isinstance(value, str | int | float | Constraint)


def _plain(value: Any) -> Any:
    if isinstance(value, Constraint):
        return {metric: list(window) for metric, window in value.all_windows().items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value
