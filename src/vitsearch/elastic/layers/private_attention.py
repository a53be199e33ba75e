"""Attention whose width does not follow from its heads, with maps private to a number of heads.

Source: ViTAS: Vision Transformer Architecture Search (2021), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import AxisLike
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.tokens.mixing import Mixed

SHARED = "shared"


class PrivateAttentionSizes(Protocol):
    """Channels and heads; see `vitsearch.spaces.parts.VitasAttentionPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def num_heads(self) -> int:
        """Heads."""

    @property
    def inner_dim(self) -> int:
        """Channels of q, of k and of v, over all heads."""


class ElasticPrivateAttention(ElasticModule[PrivateAttentionSizes]):
    """Attention on (B, N, C) with scale head_dim^-0.5; the number of heads is an argument, too.

    A width takes its channels of q, of k and of v, which then divide into heads; so a channel's
    head differs with the number of heads. That is why each number has projections of its own:
    to q and k (`private="qk"`), to v (`"v"`) or none (`"none"`).

    Attributes:
        private: What each number of heads has projections of its own for.
        num_heads: The numbers of heads.
    """

    def __init__(
        self, dim: AxisLike, inner_dim: AxisLike, num_heads: Sequence[int], *, private: str = "qk"
    ) -> None:
        super().__init__()
        names = [str(heads) for heads in num_heads]
        self.private = private
        self.num_heads = tuple(num_heads)
        self.qk = nn.ModuleDict(
            {
                name: ElasticLinear(dim, (2, inner_dim))
                for name in (names if private == "qk" else [SHARED])
            }
        )
        self.v = nn.ModuleDict(
            {
                name: ElasticLinear(dim, inner_dim)
                for name in (names if private == "v" else [SHARED])
            }
        )
        self.proj = ElasticLinear(inner_dim, dim)

    def _names(self, sizes: PrivateAttentionSizes) -> tuple[str, str]:
        own = str(sizes.num_heads)
        return own if self.private == "qk" else SHARED, own if self.private == "v" else SHARED

    def children_sizes(self, sizes: PrivateAttentionSizes) -> dict[str, LinearSizes]:
        """The projections of this number of heads."""
        qk, v = self._names(sizes)
        dim, inner = (sizes.embed_dim,), (sizes.inner_dim,)
        return {
            f"qk.{qk}": LinearSizes(dim, (2, *inner)),
            f"v.{v}": LinearSizes(dim, inner),
            "proj": LinearSizes(inner, dim),
        }

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The projection of the joined heads."""
        return (self.proj,)

    def forward(self, x: Tensor, sizes: PrivateAttentionSizes, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        return self.mix(x, sizes, context).added

    def mix(
        self,
        x: Tensor,
        sizes: PrivateAttentionSizes,
        context: Context = PLAIN,
        bias: Tensor | None = None,
    ) -> Mixed:
        """Attention with `bias` (B, 1, 1 or N, N) added to the scores of all heads."""
        batch, tokens, _ = x.shape
        of = self.children_sizes(sizes)
        qk_name, v_name = self._names(sizes)
        qk = self.qk[qk_name](x, of[f"qk.{qk_name}"], context)
        v = self.v[v_name](x, of[f"v.{v_name}"], context)
        q, k = qk.view(batch, tokens, 2, sizes.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        v = v.view(batch, tokens, sizes.num_heads, -1).transpose(1, 2)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x.transpose(1, 2).reshape(batch, tokens, -1)
        return Mixed(self.proj(x, of["proj"], context), q, k)
