"""The projector of Visual Transformers (Wu et al., ICCV 2021, section 3.3)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticBatchNorm
from vitsearch.elastic.layers.vt.grouped import ElasticGrouped, GroupedSizes
from vitsearch.elastic.layers.vt.heads import VtAxes, heads_of, scores


class ElasticProjector(ElasticModule[Any]):
    """Tokens to pixels: every pixel asks the tokens, and gets what they say added."""

    def __init__(self, axes: VtAxes, *, normed: bool, has_shortcut: bool) -> None:
        super().__init__()
        assert axes.out_dim is not None
        assert axes.query_columns is not None
        out = axes.out_dim
        self.query = ElasticGrouped(axes.query_columns, out)
        self.query_norm = ElasticBatchNorm(out) if normed else None
        self.key = ElasticLinear(axes.token_dim, out, bias=False)
        self.value = ElasticLinear(axes.token_dim, out, bias=False)
        self.norm = ElasticBatchNorm(out) if normed else None
        self.shortcut = ElasticLinear(axes.in_dim, out, bias=False) if has_shortcut else None
        self.shortcut_norm = ElasticBatchNorm(out) if has_shortcut and normed else None

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """Both widths of the map, and D."""
        own = sizes.sizes
        out, dim = own.out_dim, (own.token_dim,)
        found: dict[str, Any] = {
            "query": GroupedSizes(sizes.query_columns, out, out // sizes.pixel_group),
            "key": LinearSizes(dim, (out,)),
            "value": LinearSizes(dim, (out,)),
        }
        if sizes.has_shortcut:
            found["shortcut"] = LinearSizes((own.in_dim,), (out,))
        for name in ("query_norm", "norm", *(["shortcut_norm"] if sizes.has_shortcut else [])):
            found |= {} if getattr(self, name) is None else {name: out}
        return found

    def forward(self, x: Tensor, tokens: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """A map (B, c, H, W) and tokens (B, L, D) to a map (B, C, H, W)."""
        of, pixels = self.children_sizes(sizes), x.flatten(2)

        def normed(name: str, made: Tensor) -> Tensor:
            norm = getattr(self, name)
            return made if norm is None else norm(made, of[name], context)

        queries, keys, values = (
            heads_of(part, sizes.num_heads)
            for part in (
                normed("query_norm", self.query(pixels, of["query"], context)),
                self.key(tokens, of["key"], context).mT,
                self.value(tokens, of["value"], context).mT,
            )
        )
        attention = scores(queries, keys, scaled=sizes.scaled).softmax(-1)
        said = normed("norm", (attention @ values).mT.flatten(1, 2))
        if self.shortcut is not None and "shortcut" in of:
            around = self.shortcut(pixels.mT, of["shortcut"], context).mT
            pixels = normed("shortcut_norm", around)
        return (pixels + said).reshape(x.shape[0], -1, *x.shape[2:])
