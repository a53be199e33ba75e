"""Batches of what flows between layers, a tensor or a map with its tokens: joined and divided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vitsearch.elastic.layers.vt.heads import MapWithTokens

Flowing = Any
"""A tensor (B, ...), or a `MapWithTokens`."""


def joined(parts: Sequence[Flowing]) -> Flowing:
    """Batches one after the other, as one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], MapWithTokens):
        return MapWithTokens(*map(torch.cat, zip(*parts, strict=True)))
    return torch.cat(list(parts))


def divided(x: Flowing, lengths: Sequence[int]) -> Sequence[Flowing]:
    """One batch as several of these lengths."""
    if isinstance(x, MapWithTokens):
        parts = (own.split_with_sizes(list(lengths)) for own in x)
        return [MapWithTokens(*own) for own in zip(*parts, strict=True)]
    split: Sequence[Flowing] = x.split_with_sizes(list(lengths))
    return split


def length(x: Flowing) -> int:
    """Images in a batch."""
    return len(x.map) if isinstance(x, MapWithTokens) else len(x)


def shape_of_one(x: Flowing) -> tuple[Any, ...]:
    """The shape of one image's part."""
    own = x if isinstance(x, MapWithTokens) else (x,)
    return tuple(part.shape[1:] for part in own)
