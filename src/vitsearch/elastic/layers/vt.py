"""A module of Visual Transformers: tokenizer, transformers on tokens, projector.

Source: Visual Transformers (Wu et al., ICCV 2021), equations 1 to 5. All layers are without bias.
Maps are kept as pixels (B, C, N) inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.grouped import ElasticGrouped, GroupedSizes
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticBatchNorm, ElasticLayerNorm


class MapWithTokens(NamedTuple):
    """What goes from one module to the next.

    Attributes:
        map: (B, C, H, W).
        tokens: (B, L, D).
    """

    map: Tensor
    tokens: Tensor


class VtAxes(NamedTuple):
    """The widths that a module's plans take of each dimension."""

    in_dim: Axis
    out_dim: Axis | None
    token_dim: Axis
    half_dim: Axis
    hidden_dim: Axis | None
    num_tokens: Axis
    query_columns: Axis | None


def heads_of(x: Tensor, count: int) -> Tensor:
    """(B, C, N) to (B, heads, N, C / heads)."""
    return x.reshape(x.shape[0], count, -1, x.shape[-1]).mT


def scores(queries: Tensor, keys: Tensor, *, scaled: bool) -> Tensor:
    """(B, heads, M, d) and (B, heads, N, d) to (B, heads, M, N)."""
    if scaled:
        queries = queries * queries.shape[-1] ** -0.5
    return queries @ keys.mT


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


class ElasticVt(ElasticModule[Any]):
    """A module: what comes in is a map, patch tokens, or a map with the tokens before."""

    def __init__(
        self,
        tokenizer: ElasticTokenizer | None,
        layers: Sequence[ElasticTokenLayer | ElasticRelation],
        projector: ElasticProjector | None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.layers = nn.ModuleList(layers)
        self.projector = projector

    @torch.no_grad()
    def zero_init_residual(self) -> None:
        """Let what is added begin as nothing: zeros in the last layers of MLPs and projector."""
        for layer in self.layers:
            for last in layer.last_layers():  # type: ignore[operator]
                last.weight.zero_()
        if self.projector is not None:
            last = self.projector.norm or self.projector.value
            last.weight.zero_()

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """The plan itself, for what it has."""
        count = sizes.num_layers if sizes.relation == "transformer" else 1
        found = {f"layers.{number}": sizes for number in range(count)}
        if sizes.sizes.tokenizer != "none":
            found["tokenizer"] = sizes
        if sizes.sizes.out_dim:
            found["projector"] = sizes
        return found

    def forward(
        self, x: Tensor | MapWithTokens, sizes: Any, context: Context = PLAIN
    ) -> Tensor | MapWithTokens:
        """To a map with tokens; behind the last module one of the two."""
        own = sizes.sizes
        seen, tokens = (x, None) if isinstance(x, Tensor) else (x.map, x.tokens)
        if seen.dim() == 3:  # patch tokens, row by row
            patches = seen[:, own.num_prefix_tokens :].mT
            seen = patches.reshape(seen.shape[0], -1, *own.grid)
        if self.tokenizer is not None and own.tokenizer != "none":
            tokens = self.tokenizer(seen, tokens, sizes, context)
        for number in range(sizes.num_layers if sizes.relation == "transformer" else 1):
            tokens = self.layers[number](tokens, sizes, context)
        assert tokens is not None
        if self.projector is not None and own.out_dim:
            seen = self.projector(seen, tokens, sizes, context)
        if own.gives_map and own.gives_tokens:
            return MapWithTokens(seen, tokens)
        return tokens if own.gives_tokens else seen
