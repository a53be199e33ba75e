"""How tokens talk (Wu et al., ICCV 2021, section 3.2 and table 5)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticLayerNorm
from vitsearch.elastic.layers.vt.grouped import ElasticGrouped, GroupedSizes
from vitsearch.elastic.layers.vt.heads import VtAxes, heads_of, scores


class ElasticTokenLayer(ElasticModule[Any]):
    """A transformer on tokens: attention in groups of channels, then an MLP, each added."""

    def __init__(self, axes: VtAxes, token_group: int, *, normed: bool) -> None:
        super().__init__()
        dim = axes.token_dim
        assert axes.hidden_dim is not None
        self.norm1 = ElasticLayerNorm(dim) if normed else None
        self.query = ElasticGrouped(token_group, axes.half_dim)
        self.key = ElasticGrouped(token_group, axes.half_dim)
        self.value = ElasticGrouped(token_group, dim)
        self.norm2 = ElasticLayerNorm(dim) if normed else None
        self.fc1 = ElasticLinear(dim, axes.hidden_dim, bias=False)
        self.fc2 = ElasticLinear(axes.hidden_dim, dim, bias=False)

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The second layer of the MLP."""
        return (self.fc2,)

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """Groups of queries, keys and values, and the MLP."""
        dim, groups = sizes.sizes.token_dim, sizes.sizes.token_dim // sizes.token_group
        half = GroupedSizes(sizes.token_group, dim // 2, groups)
        norms = {} if self.norm1 is None else {"norm1": dim, "norm2": dim}
        return {
            **norms,
            "query": half,
            "key": half,
            "value": GroupedSizes(sizes.token_group, dim, groups),
            "fc1": LinearSizes((dim,), (sizes.hidden_dim,)),
            "fc2": LinearSizes((sizes.hidden_dim,), (dim,)),
        }

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, L, D) to the same shape."""
        of = self.children_sizes(sizes)
        normed = x if self.norm1 is None else self.norm1(x, of["norm1"], context)
        queries, keys, values = (
            heads_of(self.get_submodule(name)(normed.mT, of[name], context), sizes.num_heads)
            for name in ("query", "key", "value")
        )
        attention = scores(queries, keys, scaled=sizes.scaled).softmax(-1)
        x = x + (attention @ values).transpose(1, 2).flatten(2)
        normed = x if self.norm2 is None else self.norm2(x, of["norm2"], context)
        hidden = F.relu(self.fc1(normed, of["fc1"], context))
        return x + self.fc2(hidden, of["fc2"], context)  # type: ignore[no-any-return]


class ElasticRelation(ElasticModule[Any]):
    """In place of a transformer: one layer for each token, with or without a mix of tokens.

    Source: table 5, "none" and "graph convolution".
    """

    def __init__(self, axes: VtAxes, *, graph: bool) -> None:
        super().__init__()
        self.fc = ElasticLinear(axes.token_dim, axes.token_dim, bias=False)
        self.mix = ElasticLinear(axes.num_tokens, axes.num_tokens, bias=False) if graph else None

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """D, and L where tokens are mixed."""
        dim, count = sizes.sizes.token_dim, sizes.sizes.num_tokens
        mix = {} if self.mix is None else {"mix": LinearSizes((count,), (count,))}
        return {**mix, "fc": LinearSizes((dim,), (dim,))}

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, L, D) to the same shape."""
        of = self.children_sizes(sizes)
        if self.mix is not None:
            x = self.mix(x.mT, of["mix"], context).mT
        return self.fc(x, of["fc"], context)  # type: ignore[no-any-return]
