"""The masked forms of elastic layers, by their type; any other layer runs share by share.

A form takes tokens (B, N, C) of K shares in order, B / K images each, as wide as the largest size
of the layer, and the sizes of each share, `None` where it does without the layer. It returns tokens
as wide as that, too. In both the channels of a share stand first, zeros after them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import ElasticModule
from vitsearch.supernet.masked.shares import Shares, Sizes
from vitsearch.supernet.together import has_own_statistics, run_shares

Form = Callable[[Any, Tensor, Sizes, Shares], Tensor]
FormT = TypeVar("FormT", bound=Form)
_FORMS: dict[type, Form] = {}


def form(*layers: type[ElasticModule[Any]]) -> Callable[[FormT], FormT]:
    """Decorator: this function is the masked form of layers of exactly these types."""

    def add(function: FormT) -> FormT:
        for layer in layers:
            assert layer not in _FORMS, layer
            _FORMS[layer] = function
        return function

    return add


def run_layer(
    layer: ElasticModule[Any], x: Tensor, sizes: Sizes, shares: Shares, widths: Sequence[int]
) -> Tensor:
    """A layer that keeps the width of tokens, in its masked form or share by share.

    Args:
        layer: The layer.
        x: (B, N, C) of all shares.
        sizes: Of each share; `None` where it does without the layer: zeros come out.
        shares: The shares.
        widths: How many channels each share has.
    """
    if all(own is None for own in sizes):
        return torch.zeros_like(x)
    if type(layer) in _FORMS:
        return _FORMS[type(layer)](layer, x, sizes, shares)
    parts = list(x.chunk(len(shares)))
    users = [share for share, own in enumerate(sizes) if own is not None]
    done = run_shares(
        lambda layer, x, sizes, context: layer(x, sizes, context),
        layer,
        [parts[share][..., : widths[share]].contiguous() for share in users],
        [sizes[share] for share in users],
        [shares.contexts[share] for share in users],
        apart=has_own_statistics(layer),
    )
    outputs = {share: fit(own, x.shape[-1]) for share, own in zip(users, done, strict=True)}
    zeros = next(iter(outputs.values())).new_zeros(parts[0].shape)
    return torch.cat([outputs.get(share, zeros) for share in range(len(shares))])


def fit(x: Tensor, width: int) -> Tensor:
    """Tokens with as many channels: zeros put after those there are, or the last ones left out."""
    if x.shape[-1] == width:
        return x
    return x[..., :width] if x.shape[-1] > width else F.pad(x, (0, width - x.shape[-1]))


def children(layer: ElasticModule[Any], sizes: Sizes) -> dict[str, list[Any | None]]:
    """The sizes of each child that a share uses, by its name and by share."""
    found: dict[str, list[Any | None]] = {}
    for share, own in enumerate(sizes):
        used = {} if own is None else layer.children_sizes(own)
        for name, size in used.items():
            found.setdefault(name, [None] * len(sizes))[share] = size
    return found
