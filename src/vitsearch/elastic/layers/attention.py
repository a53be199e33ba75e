"""Multi-head self-attention with elastic width, number of heads and head dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_flop_count

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.tokens.mixing import Mixed


class AttentionLike(Protocol):
    """Channels in and out, heads, channels of a head; a mixer's plan is one."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def num_heads(self) -> int:
        """Heads."""

    @property
    def head_dim(self) -> int:
        """Channels of a head."""


@dataclass(frozen=True, slots=True)
class AttentionSizes:
    """Channels in and out, heads, channels of a head.

    Attributes:
        token_alignment: Which channels in and out, whatever the call says; `None` for as it says.
    """

    embed_dim: int
    num_heads: int
    head_dim: int
    token_alignment: Alignment | None = None


SizesT = TypeVar("SizesT", bound=AttentionLike)


class ElasticHeads(ElasticModule[SizesT]):
    """Projections to q, k, v and back, around whatever attends; rows q, k, v, then by head.

    Attributes:
        elastic_head_dim: Whether the channels of a head are an argument, too.
    """

    def __init__(
        self, dim: AxisLike, num_heads: AxisLike, head_dim: AxisLike, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        self.qkv = ElasticLinear(dim, (3, num_heads, head_dim), bias=qkv_bias)
        self.proj = ElasticLinear((num_heads, head_dim), dim)
        self.elastic_head_dim = as_axis(head_dim).is_elastic

    def children_sizes(self, sizes: SizesT) -> dict[str, LinearSizes]:
        """The heads and, of each, the channels."""
        heads, tokens = (sizes.num_heads, sizes.head_dim), (sizes.embed_dim,)
        fixed = getattr(sizes, "token_alignment", None)
        return {
            "qkv": LinearSizes(tokens, (3, *heads), in_alignment=fixed),
            "proj": LinearSizes(heads, tokens, out_alignment=fixed),
        }

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The heads."""
        made = self.qkv.places_of("qkv", rows=1)
        return (TiedAxis((*made, *self.proj.places_of("proj", columns=0)), "proj.weight"),)

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The projection of the joined heads."""
        return (self.proj,)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sizes: SizesT) -> Tensor:
        """Queries, keys and values (B, heads, N, head_dim) to the same shape."""
        raise NotImplementedError

    def forward(self, x: Tensor, sizes: SizesT, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        q, k, v = self.project(x, sizes, context)
        return self.join(self.attend(q, k, v, sizes), sizes, context)

    def project(
        self, x: Tensor, sizes: SizesT, context: Context = PLAIN
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, N, head_dim)."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x, self.children_sizes(sizes)["qkv"], context)
        q, k, v = qkv.view(batch, tokens, 3, sizes.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def join(self, x: Tensor, sizes: SizesT, context: Context = PLAIN) -> Tensor:
        """What the heads say (B, heads, N, head_dim), projected: (B, N, C)."""
        joined = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)
        return self.proj(joined, self.children_sizes(sizes)["proj"], context)  # type: ignore[no-any-return]


class ElasticAttention(ElasticHeads[AttentionLike]):
    """Attention on (B, N, C) with scale head_dim^-0.5."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sizes: AttentionLike) -> Tensor:
        """Fused."""
        return F.scaled_dot_product_attention(q, k, v)

    def mix(
        self,
        x: Tensor,
        sizes: AttentionLike,
        context: Context = PLAIN,
        bias: Tensor | None = None,
    ) -> Mixed:
        """Attention with `bias` (B, 1, 1 or N, N) added to the scores of all heads."""
        q, k, v = self.project(x, sizes, context)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return Mixed(self.join(attended, sizes, context), q, k)


def _count_fused_attention_on_cpu() -> None:
    """Teach torch's FLOP counter the fused attention kernel of the CPU.

    It knows those of CUDA; without this `FlopCounterMode` reports a transformer on the CPU as if
    attention scores and weighted sums cost nothing.
    """
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if kernel in flop_registry:
        return

    @register_flop_formula(kernel)
    def count(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_count_fused_attention_on_cpu()
