"""A module of Visual Transformers: tokenizer, transformers on tokens, projector.

Source: Visual Transformers (Wu et al., ICCV 2021), equations 1 to 5. All layers are without bias.
Inside, maps are pixels (B, C, N).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.vt.heads import MapWithTokens
from vitsearch.elastic.layers.vt.projector import ElasticProjector
from vitsearch.elastic.layers.vt.token_layer import ElasticRelation, ElasticTokenLayer
from vitsearch.elastic.layers.vt.tokenizer import ElasticTokenizer


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
        found = {f"layers.{number}": sizes for number in range(sizes.num_layers)}
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
        for number in range(sizes.num_layers):
            tokens = self.layers[number](tokens, sizes, context)
        assert tokens is not None
        if self.projector is not None and own.out_dim:
            seen = self.projector(seen, tokens, sizes, context)
        if own.gives_map and own.gives_tokens:
            return MapWithTokens(seen, tokens)
        return tokens if own.gives_tokens else seen
