"""What the layers of a module share: what flows, the widths they serve, attention in heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vitsearch.elastic.axis import Axis


class MapWithTokens(NamedTuple):
    """What goes from one module to the next.

    Attributes:
        map: (B, C, H, W).
        tokens: (B, L, D).
    """

    map: Tensor
    tokens: Tensor


class VtAxes(NamedTuple):
    """The widths that a module's plans take of each dimension."""

    in_dim: Axis
    out_dim: Axis | None
    token_dim: Axis
    half_dim: Axis
    hidden_dim: Axis | None
    num_tokens: Axis
    query_columns: Axis | None


def heads_of(x: Tensor, count: int) -> Tensor:
    """(B, C, N) to (B, heads, N, C / heads)."""
    return x.reshape(x.shape[0], count, -1, x.shape[-1]).mT


def scores(queries: Tensor, keys: Tensor, *, scaled: bool) -> Tensor:
    """(B, heads, M, d) and (B, heads, N, d) to (B, heads, M, N)."""
    if scaled:
        queries = queries * queries.shape[-1] ** -0.5
    return queries @ keys.mT
