"""Masked forms of linear layers, LayerNorm, the MLP and the block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import (
    ElasticBlock,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticMlp,
    LinearSizes,
)
from vitsearch.elastic.block import BlockSizes
from vitsearch.elastic.mlp import MlpSizes
from vitsearch.supernet.masked.forms import children, fit, form, run_layer
from vitsearch.supernet.masked.shares import Place, Shares


@form(ElasticLinear)
def linear(
    layers: ElasticLinear | Sequence[ElasticLinear],
    x: Tensor,
    sizes: Sequence[LinearSizes | None],
    shares: Shares,
    place: Place | None = None,
) -> Tensor:
    """(B, ..., in) to (B, ..., out): one product batched over the shares.

    Args:
        layers: The layer, or that of each share.
        x: Tokens.
        sizes: Of each share.
        shares: The shares.
        place: Where rows and columns stand; by default first.
    """
    of = shares.weights(layers, sizes, place)
    weight = of["weight"]  # (K, out, in)
    flat = x.reshape(len(shares), -1, x.shape[-1])
    bias = of["bias"][:, None] if "bias" in of else None
    y = flat @ weight.mT if bias is None else torch.baddbmm(bias, flat, weight.mT)
    return y.view(*x.shape[:-1], -1)


@form(ElasticLayerNorm)
def run_norm(
    layer: ElasticLayerNorm, x: Tensor, sizes: Sequence[int | None], shares: Shares
) -> Tensor:
    """(B, N, C) to the same shape; mean and variance of the channels that a share has.

    Channels that it does not have are filled with its mean, and all are scaled up, so that mean and
    variance over all channels are (but for the scale of the mean) those over its own.
    """
    of = shares.weights(layer, sizes)
    length = layer.weight.numel()
    flat = fit(x, length).reshape(len(shares), -1, length)
    flat = flat.to(torch.promote_types(flat.dtype, torch.float32))

    def make() -> tuple[Tensor, Tensor]:
        missing = shares.missing([size or 0 for size in sizes], length, flat)
        count = (length - missing.sum(-1, keepdim=True)).clamp(min=1)
        scale = (length / count).sqrt()
        return scale, scale / count * missing

    scale, filling = shares.once(("norm", length, *sizes), make)  # (K, 1, 1), (K, 1, C)
    filled = torch.addcmul(flat * scale, flat.sum(-1, keepdim=True), filling)
    normed = F.layer_norm(filled, (length,), eps=layer.eps)
    y = torch.addcmul(of["bias"][:, None], normed, of["weight"][:, None] / scale)
    return y.view(*x.shape[:-1], length).to(x.dtype)


@form(ElasticMlp)
def run_mlp(
    layer: ElasticMlp, x: Tensor, sizes: Sequence[MlpSizes | None], shares: Shares
) -> Tensor:
    """(B, N, C) to the same shape."""
    of = children(layer, sizes)
    hidden = F.gelu(linear(layer.fc1, x, of["fc1"], shares))
    return linear(layer.fc2, hidden, of["fc2"], shares)


@form(ElasticBlock)
def run_block(
    layer: ElasticBlock, x: Tensor, sizes: Sequence[BlockSizes | None], shares: Shares
) -> Tensor:
    """(B, N, C) to the same shape; a share without the block gets its tokens back."""
    of = children(layer, sizes)
    widths = [0 if own is None else own.embed_dim for own in sizes]
    halves = (
        ("norm1", layer.norm1, "mixer", layer.mixer),
        ("norm2", layer.norm2, "mlp", layer.mlp),
    )
    for norm_name, norm, name, half in halves:
        y = run_norm(norm, x, of[norm_name], shares)
        y = run_layer(half, y, of[name], shares, widths)
        x = x + fit(layer.drop_path(y), x.shape[-1])
    return x
