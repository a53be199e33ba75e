"""Masked forms of attention: heads that a share does not have are zero, its scale is its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import (
    ElasticAttention,
    ElasticPrivateAttention,
    ElasticRelativeAttention,
    LinearSizes,
)
from vitsearch.elastic.attention import AttentionLike, ElasticHeads
from vitsearch.elastic.axis import Range
from vitsearch.elastic.private_attention import PrivateAttentionSizes
from vitsearch.supernet.masked.basic import linear
from vitsearch.supernet.masked.forms import children, form
from vitsearch.supernet.masked.rows import Row
from vitsearch.supernet.masked.shares import Shares, along


@form(ElasticAttention, ElasticRelativeAttention)
def run_attention(
    layer: ElasticHeads[Any], x: Tensor, sizes: Sequence[AttentionLike | None], shares: Shares
) -> Tensor:
    """(B, N, C) to the same shape.

    What a padded head puts out (uniform attention) meets columns of zeros.
    """
    of = children(layer, sizes)
    used = [own for own in sizes if own is not None]
    batch, tokens, _ = x.shape
    qkv = linear(layer.qkv, x, of["qkv"], shares)
    q, k, v = qkv.view(batch, tokens, *layer.qkv.out_shape).permute(2, 0, 3, 1, 4).unbind(0)
    if layer.elastic_head_dim:
        q = _with_scale(q, shares, [0 if own is None else own.head_dim for own in sizes])
    x = layer.attend(q, k, v, used[0]).transpose(1, 2).reshape(batch, tokens, -1)
    return linear(layer.proj, x, of["proj"], shares)


@form(ElasticPrivateAttention)
def run_private(
    layer: ElasticPrivateAttention,
    x: Tensor,
    sizes: Sequence[PrivateAttentionSizes | None],
    shares: Shares,
) -> Tensor:
    """(B, N, C) to the same shape.

    Rows of the projections are put where a grid of the most heads by the most channels of a head
    has them, so that all shares have one shape whatever their heads.
    """
    used = next(own for own in sizes if own is not None)
    batch, tokens, _ = x.shape
    heads = max(layer.num_heads)
    width = layer.proj.in_features // min(layer.num_heads)

    def by_head(share: int, taken: Range) -> Row:
        own = sizes[share]
        assert own is not None
        return Row(taken, heads * width, heads=own.num_heads, step=width)

    def project(x: Tensor, maps: str, dim: int) -> Tensor:
        layers: list[Any] = []
        given: list[LinearSizes | None] = []
        for own in sizes:
            named = layer.children_sizes(used if own is None else own)
            name = next(name for name in named if name.startswith(maps))
            layers.append(layer.get_submodule(name))
            given.append(None if own is None else named[name])
        private = maps == layer.private
        return linear(layers if private else layers[0], x, given, shares, along(dim, by_head))

    qk, v = project(x, "qk", 1), project(x, "v", 0)
    q, k = qk.view(batch, tokens, 2, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    v = v.view(batch, tokens, heads, width).transpose(1, 2)
    q = _with_scale(
        q, shares, [0 if own is None else own.inner_dim // own.num_heads for own in sizes]
    )
    x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, -1)
    return project(x, "proj", 1)


def _with_scale(q: Tensor, shares: Shares, head_dims: Sequence[int]) -> Tensor:
    """Queries (B, heads, N, D) so that a scale of D^-0.5 is each share's head_dim^-0.5."""

    def make() -> Tensor:
        missing = shares.missing(head_dims, q.shape[-1], q)
        own = (q.shape[-1] - missing.sum(-1)).clamp(min=1)
        return (q.shape[-1] / own).sqrt().view(-1, 1, 1, 1, 1)

    factor = shares.once(("scale", q.shape[-1], q.dtype, *head_dims), make)
    return (q.reshape(len(shares), -1, *q.shape[1:]) * factor).view(q.shape)
