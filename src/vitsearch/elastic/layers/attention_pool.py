"""A pool by attention, always whole: timm's layer under elastic calls."""

from __future__ import annotations

from typing import Any

from timm.layers import AttentionPoolLatent, LayerNorm, RmsNorm, get_act_layer
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region

_NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RmsNorm}


class ElasticAttentionPool(ElasticModule[Any]):
    """Tokens (B, N, C) to (B, C): a learned query looks at all of them."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        hidden_dim: int,
        *,
        activation: str = "gelu",
        norm: tuple[str, float] = ("layer", 1e-6),
    ) -> None:
        super().__init__()
        kind, eps = norm
        self.layer = AttentionPoolLatent(
            dim,
            num_heads=num_heads,
            mlp_ratio=(hidden_dim + 0.5) / dim,  # timm rounds down
            norm_layer=lambda width, **options: _NORMS[kind](width, eps=eps, **options),
            act_layer=get_act_layer(activation),
        )

    def regions(self, sizes: Any, alignment: Alignment = "prefix") -> dict[str, Region]:
        """All of it."""
        return {f"layer.{name}": Region(()) for name, _ in self.layer.named_parameters()}

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to (B, C)."""
        pooled: Tensor = self.layer(x)
        return pooled
