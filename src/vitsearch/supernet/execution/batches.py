"""Batches of what flows between layers, a tensor or several together: joined and divided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Flowing = Any
"""A tensor (B, ...), or a named tuple of such: `MapWithTokens`, `FewTokens`."""


def joined(parts: Sequence[Flowing]) -> Flowing:
    """Batches one after the other, as one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(list(parts))
    return type(parts[0])(*map(torch.cat, zip(*parts, strict=True)))


def divided(x: Flowing, lengths: Sequence[int]) -> Sequence[Flowing]:
    """One batch as several of these lengths."""
    if isinstance(x, torch.Tensor):
        return x.split_with_sizes(list(lengths))
    parts = (own.split_with_sizes(list(lengths)) for own in x)
    return [type(x)(*own) for own in zip(*parts, strict=True)]


def length(x: Flowing) -> int:
    """Images in a batch."""
    return len(x) if isinstance(x, torch.Tensor) else len(x[0])


def shape_of_one(x: Flowing) -> tuple[Any, ...]:
    """The shape of one image's part."""
    own = (x,) if isinstance(x, torch.Tensor) else x
    return tuple(part.shape[1:] for part in own)
