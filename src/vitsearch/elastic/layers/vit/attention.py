"""Self-attention whose heads, queries and keys, and values each have an elastic width."""

from __future__ import annotations

from math import prod
from typing import Protocol, TypeVar

import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.axis import AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis
from vitsearch.elastic.layers.attention import AttentionLike
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticLayerNorm
from vitsearch.elastic.layers.tokens.mixing import Mixed
from vitsearch.elastic.layers.vit.grid_norm import ElasticGridNorm


class VitAttentionSizes(AttentionLike, Protocol):
    """C, heads and their widths; see `vitsearch.spaces.parts.VitAttentionPlan`."""

    @property
    def qk_dim(self) -> int:
        """Channels of a head's queries and keys."""

    @property
    def scale_dim(self) -> int:
        """Scores are scaled by its root."""


SizesT = TypeVar("SizesT", bound=VitAttentionSizes)


class ElasticVitAttention(ElasticModule[SizesT]):
    """Attention on (B, N, C) with scale scale_dim^-0.5, however many channels are left.

    Attributes:
        q: To queries, by head.
        k: To keys, by head.
        v: To values, by head.
        proj: From the joined heads.
        q_norm: Of each head's queries, if any.
        k_norm: Of each head's keys, if any.
        norm: Of the joined heads, if any.
    """

    def __init__(
        self,
        dim: AxisLike,
        num_heads: AxisLike,
        qk_dim: AxisLike | tuple[AxisLike, ...],
        head_dim: AxisLike,
        *,
        qkv_bias: str = "all",
        proj_bias: bool = True,
        qk_norm: tuple[str, float] | None = None,
        inner_norm: tuple[str, float] | None = None,
    ) -> None:
        """Build the layer.

        Args:
            dim: C.
            num_heads: Heads.
            qk_dim: Channels of a head's queries and keys, or the grid that they stand on.
            head_dim: Channels of a head's values.
            qkv_bias: `all`, `none` or `qv`.
            proj_bias: Whether the output projection has a bias.
            qk_norm: Kind and epsilon of the norm of queries and keys.
            inner_norm: Kind and epsilon of the norm of the joined heads.
        """
        super().__init__()
        num_heads, head_dim = as_axis(num_heads), as_axis(head_dim)
        of_head = qk_dim if isinstance(qk_dim, tuple) else (qk_dim,)
        self.q = ElasticLinear(dim, (num_heads, *of_head), bias=qkv_bias != "none")
        self.k = ElasticLinear(dim, (num_heads, *of_head), bias=qkv_bias == "all")
        self.v = ElasticLinear(dim, (num_heads, head_dim), bias=qkv_bias != "none")
        self.q_norm = self.k_norm = None
        if qk_norm is not None:
            kind, eps = qk_norm
            width = of_head[0] if len(of_head) == 1 else prod(self.q.out_shape[1:])
            self.q_norm = ElasticLayerNorm(width, eps, kind=kind)
            self.k_norm = ElasticLayerNorm(width, eps, kind=kind)
        self.norm = None
        if inner_norm is not None:
            self.norm = ElasticGridNorm((num_heads, head_dim), *inner_norm)
        self.proj = ElasticLinear((num_heads, head_dim), dim, bias=proj_bias)

    def children_sizes(self, sizes: SizesT) -> dict[str, LinearSizes | int | tuple[int, ...]]:
        """The heads and, of each, the channels."""
        tokens = (sizes.embed_dim,)
        queries = (sizes.num_heads, *self.query_shape(sizes))
        values = (sizes.num_heads, sizes.head_dim)
        own: dict[str, LinearSizes | int | tuple[int, ...]] = {
            "q": LinearSizes(tokens, queries),
            "k": LinearSizes(tokens, queries),
            "v": LinearSizes(tokens, values),
            "proj": LinearSizes(values, tokens),
        }
        if self.q_norm is not None:
            own |= {"q_norm": sizes.qk_dim, "k_norm": sizes.qk_dim}
        return own if self.norm is None else own | {"norm": values}

    def query_shape(self, sizes: SizesT) -> tuple[int, ...]:
        """The grid on which the channels of a head's queries and keys stand."""
        return (sizes.qk_dim,)

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The heads."""
        made = [self.q.places_of("q", rows=0), self.k.places_of("k", rows=0)]
        made += [self.v.places_of("v", rows=0), self.proj.places_of("proj", columns=0)]
        if self.norm is not None:
            made.append(self.norm.places_of("norm", 0))
        return (TiedAxis(tuple(place for places in made for place in places), "proj.weight"),)

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The projection of the joined heads."""
        return (self.proj,)

    def forward(self, x: Tensor, sizes: SizesT, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        return self.join(*self.project(x, sizes, context), sizes, context)

    def project(
        self, x: Tensor, sizes: SizesT, context: Context = PLAIN
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys (B, heads, N, qk_dim), values (B, heads, N, head_dim)."""
        of = self.children_sizes(sizes)
        batch, tokens, _ = x.shape
        q, k, v = (
            layer(x, of[name], context).view(batch, tokens, sizes.num_heads, -1).transpose(1, 2)
            for name, layer in (("q", self.q), ("k", self.k), ("v", self.v))
        )
        if self.q_norm is not None and self.k_norm is not None:
            q = self.q_norm(q, of["q_norm"], context)
            k = self.k_norm(k, of["k_norm"], context)
        q, k = self.positioned(q, k, sizes, context)
        return q, k, v

    def positioned(
        self, q: Tensor, k: Tensor, sizes: SizesT, context: Context = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys that know where they are; here as they come."""
        return q, k

    def score_bias(self, sizes: SizesT, context: Context = PLAIN) -> Tensor | None:
        """What is added to the scores (heads, N, N) by position; here nothing."""
        return None

    def mix(
        self, x: Tensor, sizes: SizesT, context: Context = PLAIN, bias: Tensor | None = None
    ) -> Mixed:
        """Attention with `bias` (B, 1, 1 or N, N) added to the scores of all heads."""
        q, k, v = self.project(x, sizes, context)
        return Mixed(self.join(q, k, v, sizes, context, bias), q, k)

    def join(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sizes: SizesT,
        context: Context = PLAIN,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attend and project the joined heads: (B, N, C)."""
        x = self.attend(q, k, v, sizes, context, bias)
        return self.proj(x, self.children_sizes(sizes)["proj"], context)  # type: ignore[no-any-return]

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sizes: SizesT,
        context: Context = PLAIN,
        bias: Tensor | None = None,
    ) -> Tensor:
        """The joined heads (B, N, heads * head_dim) that the output projection sees."""
        bias = self.score_bias(sizes, context) if bias is None else bias
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=sizes.scale_dim**-0.5)
        x = x.transpose(1, 2).flatten(2)
        if self.norm is not None:
            x = self.norm(x, (sizes.num_heads, sizes.head_dim), context)
        return x
