"""The tokenizers of Visual Transformers (Wu et al., ICCV 2021, section 3.1)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticBatchNorm
from vitsearch.elastic.layers.vt.grouped import ElasticGrouped, GroupedSizes
from vitsearch.elastic.layers.vt.heads import VtAxes, heads_of, scores


class ElasticTokenizer(ElasticModule[Any]):
    """Pixels to tokens: by filters or by pooling, or asked for by the tokens before."""

    def __init__(self, axes: VtAxes, ways: set[str], pixel_group: int, *, normed: bool) -> None:
        super().__init__()
        c, dim = axes.in_dim, axes.token_dim
        self.filters: ElasticLinear | None = None
        self.query: ElasticLinear | None = None
        self.key: ElasticGrouped | None = None
        self.value: ElasticGrouped | None = None
        self.key_norm: ElasticBatchNorm | None = None
        self.value_norm: ElasticBatchNorm | None = None
        if "filter" in ways:
            self.filters = ElasticLinear(c, axes.num_tokens, bias=False)
        if "recurrent" in ways:
            self.query = ElasticLinear(dim, c, bias=False)
            self.key = ElasticGrouped(pixel_group, c)
            self.key_norm = ElasticBatchNorm(c) if normed else None
        if ways & {"filter", "recurrent"}:
            self.value = ElasticGrouped(pixel_group, c)
            self.value_norm = ElasticBatchNorm(c) if normed else None
        self.proj = ElasticLinear(c, dim, bias=False)

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """Of what this way of making tokens needs."""
        own, c = sizes.sizes, sizes.sizes.in_dim
        found: dict[str, Any] = {}
        grouped = GroupedSizes(sizes.pixel_group, c, c // sizes.pixel_group)
        if own.tokenizer == "filter":
            found["filters"] = LinearSizes((c,), (own.num_tokens,))
        if own.tokenizer == "recurrent":
            found |= {"query": LinearSizes((own.token_dim,), (c,)), "key": grouped}
            found |= {"key_norm": c} if self.key_norm is not None else {}
        if own.tokenizer in ("filter", "recurrent"):
            found["value"] = grouped
            found |= {"value_norm": c} if self.value_norm is not None else {}
        return {**found, "proj": LinearSizes((c,), (own.token_dim,))}

    def forward(
        self, x: Tensor, before: Tensor | None, sizes: Any, context: Context = PLAIN
    ) -> Tensor:
        """A map (B, c, H, W), and tokens (B, L, D) or nothing, to tokens (B, L, D)."""
        own, of = sizes.sizes, self.children_sizes(sizes)
        if own.tokenizer == "pool":
            pooled = F.interpolate(x, size=sizes.pooled_grid, mode="bilinear").flatten(2).mT
            return self.proj(pooled, of["proj"], context)  # type: ignore[no-any-return]
        pixels = x.flatten(2)
        values = self._pixels("value", pixels, of, context)
        if own.tokenizer == "filter":
            assert self.filters is not None
            logits = self.filters(pixels.mT, of["filters"], context).mT
            if sizes.scaled:
                logits = logits * own.in_dim**-0.5
            made = logits.softmax(-1) @ values.mT
            return self.proj(made, of["proj"], context)  # type: ignore[no-any-return]
        assert before is not None
        assert self.query is not None
        kept = before[:, sizes.renewed :]
        asking = self.query(before[:, : sizes.renewed], of["query"], context)
        queries, keys, each = (
            heads_of(part, sizes.num_heads)
            for part in (asking.mT, self._pixels("key", pixels, of, context), values)
        )
        attention = scores(queries, keys, scaled=sizes.scaled).softmax(-1)
        made = (attention @ each).transpose(1, 2).flatten(2)
        made = self.proj(made, of["proj"], context)
        return torch.cat([made, kept], 1) if kept.shape[1] else made

    def _pixels(self, name: str, pixels: Tensor, of: dict[str, Any], context: Context) -> Tensor:
        made: Tensor = self.get_submodule(name)(pixels, of[name], context)
        norm = getattr(self, f"{name}_norm")
        return made if norm is None else norm(made, of[f"{name}_norm"], context)
