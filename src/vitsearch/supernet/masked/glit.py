"""Masked form of GLiT's mixer: where a share's local channels begin is where its weights stand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import ElasticBatchNorm, ElasticGlitMixer, ElasticLocal
from vitsearch.elastic.axis import Range
from vitsearch.elastic.glit import GlitMixerSizes
from vitsearch.elastic.local import DepthwiseSizes, LocalSizes, depthwise
from vitsearch.elastic.norm import batch_norm
from vitsearch.supernet.masked.attention import run_attention
from vitsearch.supernet.masked.basic import linear
from vitsearch.supernet.masked.forms import children, fit, form
from vitsearch.supernet.masked.rows import Row
from vitsearch.supernet.masked.shares import Shares, along


@form(ElasticGlitMixer)
def run_mixer(
    layer: ElasticGlitMixer, x: Tensor, sizes: Sequence[GlitMixerSizes | None], shares: Shares
) -> Tensor:
    """(B, N, C) to the same shape: both halves for all shares, their outputs added up."""
    of = children(layer, sizes)
    halves = []
    if layer.attn is not None and "attn" in of:
        first = fit(x, layer.attn.qkv.in_features)
        halves.append(fit(run_attention(layer.attn, first, of["attn"], shares), x.shape[-1]))
    if layer.local is not None and "local" in of:
        starts = [0 if own is None else own.global_dim for own in sizes]
        halves.append(_run_local(layer.local, x, of["local"], shares, starts))
    return halves[0] if len(halves) == 1 else halves[0] + halves[1]


def _run_local(
    layer: ElasticLocal,
    x: Tensor,
    sizes: Sequence[LocalSizes | None],
    shares: Shares,
    starts: Sequence[int],
) -> Tensor:
    """(B, N, C) to the same shape; a share's channels begin at its start, elsewhere are zeros."""
    of = children(layer, sizes)
    count, (batch, tokens, width) = len(shares), x.shape
    grid = next(own.grid for own in sizes if own is not None)

    def at_start(share: int, taken: Range) -> Row:
        return Row(taken, width, first=starts[share])

    def conv(x: Tensor) -> Tensor:
        kernels: list[DepthwiseSizes | None] = of["conv"]
        own = shares.weights(layer.conv, kernels, _in_the_middle)
        return depthwise(x, own["weight"].flatten(0, 1), own["bias"].flatten())

    x = F.glu(linear(layer.expand, x, of["expand"], shares, along(2, at_start)), dim=-1)
    # Shares side by side as channels: (B / K, N, K * inner).
    x = x.view(count, -1, tokens, x.shape[-1]).permute(1, 2, 0, 3).flatten(2)
    x = layer.mix(
        x.transpose(1, 2), grid, conv, lambda x: _run_norm(layer.norm, x, of["norm"], shares)
    )
    x = x.reshape(len(x), count, -1, tokens).permute(1, 0, 3, 2).reshape(batch, tokens, -1)
    return linear(layer.project, x, of["project"], shares, along(0, at_start))


def _in_the_middle(share: int, taken: Range) -> Row:
    """A smaller kernel is the middle of the largest, and stays there."""
    return Row(taken, taken.size, first=taken.start if taken.dim >= 2 else 0)


def _run_norm(
    layer: ElasticBatchNorm, x: Tensor, sizes: Sequence[int | None], shares: Shares
) -> Tensor:
    """(B / K, K * C, N) to the same shape; each share by its own statistics.

    Running statistics move as in the sliced execution, share after share; this alone is done by
    calls whose shapes depend on the sizes.
    """
    of = shares.weights(layer, sizes)
    mean, var = of["running_mean"], of["running_var"]
    if layer.training:
        mean, var = torch.zeros_like(mean), torch.zeros_like(var)
    else:
        for share, context in enumerate(shares.contexts):
            found = (context.statistics or {}).get(context.norm_key(layer.path))
            if found is not None and sizes[share] is not None:
                mean[share], var[share] = (fit(own.to(mean), mean.shape[1]) for own in found)
    mean, var = mean.flatten(), var.flatten()
    weight, bias = of["weight"].flatten(), of["bias"].flatten()
    # With a momentum of 1 the statistics of the batch are what is kept.
    x = batch_norm(x, mean, var, weight, bias, layer.training, 1.0, layer.eps)
    if layer.training:
        seen = zip(mean.chunk(len(shares)), var.chunk(len(shares)), strict=True)
        for size, context, (means, variances) in zip(sizes, shares.contexts, seen, strict=True):
            if size is not None:
                layer.track(means[:size], variances[:size], size, context)
    return x
