"""GLiT's mixer: the first channels through attention, the others through the local module."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.attention import AttentionSizes, ElasticAttention
from vitsearch.elastic.layers.linear import ElasticLinear
from vitsearch.elastic.layers.local import ElasticLocal, LocalSizes
from vitsearch.elastic.layers.tokens.mixing import Mixed


class GlitMixerSizes(Protocol):
    """Where the channels go; see `vitsearch.spaces.parts.GlitMixerPlan`."""

    grid: tuple[int, int]
    global_dim: int
    num_heads: int
    head_dim: int
    local_dim: int
    local_inner: int
    kernel_size: int


class ElasticGlitMixer(ElasticModule[GlitMixerSizes]):
    """Global and local channels side by side; the outputs are concatenated in the same order.

    Either half may be missing where no architecture uses it.
    """

    def __init__(self, attn: ElasticAttention | None, local: ElasticLocal | None) -> None:
        super().__init__()
        self.attn = attn
        self.local = local

    def children_sizes(self, sizes: GlitMixerSizes) -> dict[str, object]:
        """Sizes of the halves that take part."""
        children: dict[str, object] = {}
        if sizes.global_dim:
            # The first channels of the tokens come in, so a weight always meets the same channel.
            children["attn"] = AttentionSizes(
                sizes.global_dim, sizes.num_heads, sizes.head_dim, token_alignment="prefix"
            )
        if sizes.local_dim:
            children["local"] = LocalSizes(
                sizes.local_dim, sizes.local_inner, sizes.kernel_size, sizes.grid
            )
        return children

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """Those of both halves."""
        return tuple(
            layer
            for half in (self.attn, self.local)
            if half is not None
            for layer in half.last_layers()
        )

    def forward(self, x: Tensor, sizes: GlitMixerSizes, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        return self.mix(x, sizes, context).added

    def mix(
        self,
        x: Tensor,
        sizes: GlitMixerSizes,
        context: Context = PLAIN,
        bias: Tensor | None = None,
    ) -> Mixed:
        """The same, with `bias` (B, 1, 1 or N, N) added to the scores of all heads."""
        children = self.children_sizes(sizes)
        outputs = []
        queries = keys = None
        if self.attn is not None and "attn" in children:
            own: Any = children["attn"]
            made, queries, keys = self.attn.mix(x[..., : sizes.global_dim], own, context, bias)
            outputs.append(made)
        if self.local is not None and "local" in children:
            outputs.append(self.local(x[..., sizes.global_dim :], children["local"], context))
        added = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return Mixed(added, queries, keys)
