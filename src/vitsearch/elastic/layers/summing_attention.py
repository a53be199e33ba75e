"""Fused attention that also adds up its weights over groups of keys, in the same kernel.

A score may have a part that depends on the query and on the key's group only (its row of patches,
say), and an output a part that depends on how much attention a group gets. Both are extra channels:
of a key those that say which groups it is in, 0 or 1; of a query the scores of the groups. So no
tensor of all pairs of tokens is ever written.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_kernel_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def summing_attention(
    q: Tensor, k: Tensor, v: Tensor, scores: Tensor, groups: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention with scale head_dim^-0.5, and the sums of its weights.

    Args:
        q: (B, heads, N, head_dim).
        k: (B, heads, N, head_dim).
        v: (B, heads, N, head_dim).
        scores: (B, heads, N, groups) what a query adds for keys of a group, before the scale.
        groups: (N, groups) which groups a key is in, 0 or 1.

    Returns:
        (B, heads, N, head_dim), and (B, heads, N, groups) attention by group.
    """
    shares = groups.to(q.dtype).expand(*k.shape[:2], -1, -1)
    head_dim = q.shape[-1]
    q, k, v = (torch.cat(pair, dim=-1) for pair in ((q, scores), (k, shares), (v, shares)))
    if q.device.type in ("cpu", "meta") and not torch.compiler.is_compiling():
        out = _Attend.apply(q, k, v, head_dim)
    else:
        out = F.scaled_dot_product_attention(q, k, v, scale=head_dim**-0.5)
    attended, sums = out.split([head_dim, groups.shape[1]], dim=-1)
    return attended, sums


# The kernel of the CPU as operators of our own, so that a FLOP counter sees what is computed:
# channels of 0 and 1 select, they do not multiply.
_library: Any = torch.library.Library("vitsearch", "DEF")  # type: ignore[no-untyped-call]
_library.define("summing_attention(Tensor q, Tensor k, Tensor v, int head_dim) -> (Tensor, Tensor)")
_library.define(
    "summing_attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, "
    "Tensor logsumexp, int head_dim) -> (Tensor, Tensor, Tensor)"
)


def _forward(q: Tensor, k: Tensor, v: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    out, logsumexp = _kernel(q, k, v, scale=head_dim**-0.5)
    return out, logsumexp


def _forward_meta(q: Tensor, k: Tensor, v: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3])


def _backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor, head_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    given = (grad, q, k, v, out, logsumexp, 0.0, False)
    grad_q, grad_k, grad_v = _kernel_backward(*given, scale=head_dim**-0.5)
    return grad_q, grad_k, grad_v


def _backward_meta(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logsumexp: Tensor, head_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


_library.impl("summing_attention", _forward, "CPU")
_library.impl("summing_attention", _forward_meta, "Meta")
_library.impl("summing_attention_backward", _backward, "CPU")
_library.impl("summing_attention_backward", _backward_meta, "Meta")


class _Attend(torch.autograd.Function):
    """Both operators, for autograd."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, head_dim: int) -> Tensor:
        out, logsumexp = torch.ops.vitsearch.summing_attention(q, k, v, head_dim)
        ctx.save_for_backward(q, k, v, out, logsumexp)
        ctx.head_dim = head_dim
        return out  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        back = torch.ops.vitsearch.summing_attention_backward
        return (*back(grad, *ctx.saved_tensors, ctx.head_dim), None)


@register_flop_formula(torch.ops.vitsearch.summing_attention)
def _count(q: Any, k: Any, v: Any, head_dim: int, *args: Any, **kwargs: Any) -> int:
    batch, heads, queries, _ = q
    return int(4 * batch * heads * queries * k[2] * head_dim)


@register_flop_formula(torch.ops.vitsearch.summing_attention_backward)
def _count_backward(
    grad: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, head_dim: int, *args: Any, **kwargs: Any
) -> int:
    return 5 * _count(q, k, v, head_dim) // 2
