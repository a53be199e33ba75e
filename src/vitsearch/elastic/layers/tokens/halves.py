"""A block whose tokens become fewer, between its two halves or in front of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.tokens.mixing import Mixed, counting, masking
from vitsearch.elastic.layers.tokens.reduction import (
    Reduction,
    best_scored,
    most_attended,
    most_similar,
)

Predict = Callable[[Tensor, Tensor], Tensor]
"""From patch tokens (B, n, C), and which of them there are (B, n), to log-probabilities (B, n, 2)
of going on and of being dropped."""


def with_fewer_tokens(
    x: Tensor | FewTokens,
    step: Any,
    mix: Callable[[Tensor, Tensor | None], Mixed],
    transform: Callable[[Tensor], Tensor],
    predict: Predict | None = None,
    *,
    training: bool = False,
) -> Tensor | FewTokens:
    """Mixer, step, MLP; behind the last block of a stage every patch has a token again.

    Args:
        x: (B, N, C).
        step: Sizes; see `vitsearch.spaces.parts.tokens.steps`.
        mix: From tokens and a bias of attention's scores to what the mixer adds.
        transform: From tokens to what the MLP adds.
        predict: What decides, where a step needs it.
        training: Whether dropped tokens are masked and stay, so that decisions can be learned.
    """
    flow = x if isinstance(x, FewTokens) else FewTokens.of(x)
    if step.in_front:
        if step.num_left < step.num_tokens:
            assert predict is not None
            flow = _decided(flow, step, predict, training=training)
        bias = masking(flow.counts) if training else None
    else:
        bias = score_bias(x, step)
    made = mix(flow.tokens, bias)
    flow = flow._replace(tokens=flow.tokens + made.added)
    reduction = reduction_of(flow, made, step)
    if reduction is not None:
        flow = reduction(flow, counts=not reduction.fuses)
    flow = flow._replace(tokens=flow.tokens + transform(flow.tokens))
    return flow.spread() if step.is_last else flow


def score_bias(x: Tensor | FewTokens, step: Any) -> Tensor | None:
    """What is added to scores where tokens have been merged; `None` for nothing."""
    return counting(x.counts) if isinstance(x, FewTokens) and step.proportional else None


def reduction_of(flow: FewTokens, made: Mixed, step: Any) -> Reduction | None:
    """What a step does to tokens behind the mixer; `None` for nothing."""
    if step.in_front or step.num_left == step.num_tokens:
        return None
    prefix = step.num_prefix_tokens
    if hasattr(step, "merged"):
        keys = flow.tokens if made.keys is None else made.keys.mean(dim=1)
        return most_similar(keys, flow.counts, step.merged, prefix, in_order=step.in_order)
    assert made.queries is not None
    assert made.keys is not None
    scores = made.queries[:, :, :1] @ made.keys.mT * step.scale_dim**-0.5
    return most_attended(scores.softmax(dim=-1).mean(dim=1)[:, 0], step.kept, prefix)


def _decided(flow: FewTokens, step: Any, predict: Predict, *, training: bool) -> FewTokens:
    """Tokens of which fewer go on: masked in training, else taken out.

    In training it is drawn for each token whether it goes on (Gumbel-softmax, straight through);
    one that was dropped before stays so. Else the best go on, as many as the step says.
    """
    prefix = step.num_prefix_tokens
    before = flow.counts[:, prefix:]
    said = predict(flow.tokens[:, prefix:], before)
    if not training:
        return best_scored(said[..., 0], step.kept, prefix)(flow)
    drawn = F.gumbel_softmax(said, hard=True)[..., 0] * before
    return flow._replace(counts=torch.cat([flow.counts[:, :prefix], drawn], dim=1))
