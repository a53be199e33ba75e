"""A block whose tokens become fewer between its two halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.tokens.mixing import Mixed
from vitsearch.elastic.layers.tokens.reduction import Reduction, most_attended, most_similar


def with_fewer_tokens(
    x: Tensor | FewTokens,
    step: Any,
    mix: Callable[[Tensor, Tensor | None], Mixed],
    transform: Callable[[Tensor], Tensor],
) -> Tensor | FewTokens:
    """Mixer, step, MLP; behind the last block of a stage every patch has a token again.

    Args:
        x: (B, N, C).
        step: Sizes; see `vitsearch.spaces.parts.tokens.steps`.
        mix: From tokens and what each counts to what the mixer adds.
        transform: From tokens to what the MLP adds.
    """
    flow = x if isinstance(x, FewTokens) else FewTokens.of(x)
    made = mix(flow.tokens, flow.counts if step.proportional and isinstance(x, FewTokens) else None)
    flow = flow._replace(tokens=flow.tokens + made.added)
    reduction = reduction_of(flow, made, step)
    if reduction is not None:
        flow = reduction(flow, counts=not reduction.fuses)
    flow = flow._replace(tokens=flow.tokens + transform(flow.tokens))
    return flow.spread() if step.is_last else flow


def reduction_of(flow: FewTokens, made: Mixed, step: Any) -> Reduction | None:
    """What a step does to tokens behind the mixer; `None` for nothing."""
    if step.num_left == step.num_tokens:
        return None
    prefix = step.num_prefix_tokens
    if hasattr(step, "merged"):
        keys = flow.tokens if made.keys is None else made.keys.mean(dim=1)
        return most_similar(keys, flow.counts, step.merged, prefix, in_order=step.in_order)
    assert made.queries is not None
    assert made.keys is not None
    scores = made.queries[:, :, :1] @ made.keys.mT * step.scale_dim**-0.5
    return most_attended(scores.softmax(dim=-1).mean(dim=1)[:, 0], step.kept, prefix)
