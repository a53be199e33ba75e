"""The light transformer: channels are tokens, positions of an 8 x 8 map their width.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.2; see `vitsearch.spaces.parts.hr`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, Axis, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis, UnitNorm
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticBatchNorm, ElasticLayerNorm
from vitsearch.elastic.region import Region

_NORM_EPS = 1e-5


class _Layer(ElasticModule[None]):
    """What encoder and decoder have in common: all of one width, without biases but in norms."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.rate = dim, dropout
        self._make_attention()
        self.out = ElasticLinear(dim, dim, bias=False)
        self.norm1 = ElasticLayerNorm(dim, _NORM_EPS)
        self.fc1 = ElasticLinear(dim, dim, bias=False)
        self.fc2 = ElasticLinear(dim, dim, bias=False)
        self.norm2 = ElasticLayerNorm(dim, _NORM_EPS)

    def _make_attention(self) -> None:
        raise NotImplementedError

    def children_sizes(self, sizes: None) -> dict[str, Any]:
        """The one width."""
        same = LinearSizes((self.dim,), (self.dim,))
        return {"out": same, "norm1": self.dim, "fc1": same, "fc2": same, "norm2": self.dim}

    def _related(
        self, q: Tensor, k: Tensor, v: Tensor, residual: Tensor, context: Context
    ) -> Tensor:
        """Attention and feed-forward network behind it, each with its norm: (B, n, D)."""
        of = self.children_sizes(None)
        rate = self.rate if self.training else 0.0
        seen = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], dropout_p=rate)
        x = self.out(seen[:, 0], of["out"], context)
        a = self.norm1(residual + self._dropped(x), of["norm1"], context)
        x = self._dropped(F.relu(self.fc1(a, of["fc1"], context)))
        x = self._dropped(self.fc2(x, of["fc2"], context))
        return self.norm2(a + x, of["norm2"], context)  # type: ignore[no-any-return]

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.rate, self.training)


class _Encoder(_Layer):
    """Tokens attend to each other."""

    def _make_attention(self) -> None:
        self.qkv = ElasticLinear(self.dim, (3, self.dim), bias=False)

    def children_sizes(self, sizes: None) -> dict[str, Any]:
        """The one width."""
        return {"qkv": LinearSizes((self.dim,), (3, self.dim)), **super().children_sizes(sizes)}

    def forward(self, x: Tensor, sizes: None, context: Context = PLAIN) -> Tensor:
        """(B, n, D) to the same."""
        qkv = self.qkv(x, self.children_sizes(None)["qkv"], context)
        q, k, v = qkv.chunk(3, dim=-1)
        return self._related(q, k, v, x, context)


class _Decoder(_Layer):
    """Learned queries attend to tokens; what they see is added to the tokens."""

    def _make_attention(self) -> None:
        self.q = ElasticLinear(self.dim, self.dim, bias=False)
        self.kv = ElasticLinear(self.dim, (2, self.dim), bias=False)

    def children_sizes(self, sizes: None) -> dict[str, Any]:
        """The one width."""
        own = {
            "q": LinearSizes((self.dim,), (self.dim,)),
            "kv": LinearSizes((self.dim,), (2, self.dim)),
        }
        return {**own, **super().children_sizes(sizes)}

    def forward(self, x: Tensor, queries: Tensor, sizes: None, context: Context = PLAIN) -> Tensor:
        """(B, n, D) and queries (n, D) to (B, n, D)."""
        of = self.children_sizes(None)
        k, v = self.kv(x, of["kv"], context).chunk(2, dim=-1)
        q = self.q(queries, of["q"], context).expand_as(k)
        return self._related(q, k, v, x, context)


class ElasticLightTransformer(ElasticModule[Any]):
    """Map to map through n tokens; `sizes` is a `LightTransformerPlan`."""

    positions: Tensor

    def __init__(
        self, in_dim: int, embed_dim: int, num_tokens: Axis | int, side: int, dropout: float
    ) -> None:
        super().__init__()
        self._tokens, self._side = as_axis(num_tokens), side
        dim = side * side
        count = self._tokens.size
        self.register_buffer("positions", position_maps(side), persistent=False)
        self.expand = ElasticConv2d(in_dim + 2, num_tokens, 1, bias=False)
        self.norm1 = ElasticBatchNorm(num_tokens)
        self.encoder = _Encoder(dim, dropout)
        self.queries = nn.Parameter(torch.empty(count, dim))
        self.decoder = _Decoder(dim, dropout)
        self.project = ElasticConv2d(num_tokens, embed_dim, 1, bias=False)
        self.norm2 = ElasticBatchNorm(embed_dim)
        nn.init.xavier_uniform_(self.queries)

    def regions(self, sizes: Any, alignment: Alignment = "prefix") -> dict[str, Region]:
        """A query for each token."""
        return {"queries": Region((self._tokens.range(0, sizes.num_tokens, alignment),))}

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """The tokens, for what leads to them and back."""
        n = sizes.num_tokens
        return {
            "expand": ConvSizes(sizes.in_dim + 2, n),
            "norm1": n,
            "encoder": None,
            "decoder": None,
            "project": ConvSizes(n, sizes.embed_dim),
            "norm2": sizes.embed_dim,
        }

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The tokens."""
        count = self._tokens.size
        norms = ("weight", "bias", "running_mean", "running_var")
        return (
            TiedAxis(
                (
                    ("expand.weight", tuple(self.expand.weight.shape), 0),
                    *((f"norm1.{name}", (count,), 0) for name in norms),
                    ("queries", tuple(self.queries.shape), 0),
                    ("project.weight", tuple(self.project.weight.shape), 1),
                ),
                "project.weight",
                UnitNorm("norm1.weight", "norm1.bias", nn.Identity(), constant=None),
            ),
        )

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        of = self.children_sizes(sizes)
        queries = self.tensors(sizes, context)["queries"]
        side = (self._side, self._side)
        small = F.interpolate(x, size=side, mode="bilinear")
        places = self.positions.to(small.dtype).expand(small.shape[0], -1, -1, -1)
        tokens = self.expand(torch.cat((small, places), dim=1), of["expand"], context)
        tokens = self.norm1(tokens, of["norm1"], context).flatten(2)
        tokens = self.encoder(tokens, None, context)
        tokens = self.decoder(tokens, queries, None, context)
        made = self.project(tokens.unflatten(2, side), of["project"], context)
        made = self.norm2(made, of["norm2"], context)
        made = F.interpolate(made, size=sizes.grid, mode="bilinear")
        return x + made if sizes.adds_input else made


def position_maps(side: int) -> Tensor:
    """(2, side, side): column and row numbers, each with mean 0 and deviation 1."""
    steps = torch.arange(side, dtype=torch.float32)
    steps = (steps - steps.mean()) / steps.std(correction=0)
    return torch.stack((steps.expand(side, side), steps[:, None].expand(side, side)))
