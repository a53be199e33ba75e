"""A pre-norm transformer block around any mixer and any MLP."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from vitsearch.elastic.axis import AxisLike
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.norm import ElasticLayerNorm
from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.tokens.halves import with_fewer_tokens
from vitsearch.elastic.layers.tokens.mixing import Mixed
from vitsearch.elastic.layers.tokens.predictor import (
    ElasticTokenPredictor,
    predicting,
    predictor_sizes,
)


class BlockSizes(Protocol):
    """C and the sizes of the two halves; see `vitsearch.spaces.BlockPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def mixer(self) -> Any:
        """Sizes of the mixer."""

    @property
    def mlp(self) -> Any:
        """Sizes of the MLP."""


class ElasticBlock(ElasticModule[BlockSizes]):
    """x + mixer(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(
        self,
        dim: AxisLike,
        mixer: ElasticModule[Any],
        mlp: ElasticModule[Any],
        *,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        predictor: ElasticTokenPredictor | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = ElasticLayerNorm(dim, norm_eps)
        self.mixer = mixer
        self.norm2 = ElasticLayerNorm(dim, norm_eps)
        self.mlp = mlp
        self.predictor = predictor
        self.set_drop_path(drop_path)

    def set_drop_path(self, rate: float) -> None:
        """Leave out a half of the block with this probability, for each image, in training."""
        self.drop_path: nn.Module = DropPath(rate) if rate else nn.Identity()

    @torch.no_grad()
    def zero_init_residual(self) -> None:
        """Let the block begin as the identity: zeros in the last layers of both halves.

        Source: Accurate, Large Minibatch SGD (2017), section 5.1, for residual networks.
        """
        for half in (self.mixer, self.mlp):
            for layer in half.last_layers():
                layer.weight.zero_()

    def children_sizes(self, sizes: BlockSizes) -> dict[str, Any]:
        """Norms see C, the halves their own sizes."""
        own = {
            "norm1": sizes.embed_dim,
            "mixer": sizes.mixer,
            "norm2": sizes.embed_dim,
            "mlp": sizes.mlp,
        }
        return own | predictor_sizes(sizes)

    def forward(
        self, x: Tensor | FewTokens, sizes: BlockSizes, context: Context = PLAIN
    ) -> Tensor | FewTokens:
        """(B, N, C) to the same shape, or to fewer tokens."""
        of = self.children_sizes(sizes)
        step = getattr(sizes, "tokens", None)
        if step is not None:
            return with_fewer_tokens(
                x,
                step,
                lambda x, bias: self._mixed(x, of, context, bias),
                lambda x: self.drop_path(
                    self.mlp(self.norm2(x, of["norm2"], context), of["mlp"], context)
                ),
                predicting(self.predictor, sizes, context),
                training=self.training,
            )
        assert isinstance(x, Tensor)
        x = x + self.drop_path(
            self.mixer(self.norm1(x, of["norm1"], context), of["mixer"], context)
        )
        x = x + self.drop_path(self.mlp(self.norm2(x, of["norm2"], context), of["mlp"], context))
        return x

    def _mixed(self, x: Tensor, of: dict[str, Any], context: Context, bias: Tensor | None) -> Mixed:
        mixer: Any = self.mixer
        made: Mixed = mixer.mix(self.norm1(x, of["norm1"], context), of["mixer"], context, bias)
        return made._replace(added=self.drop_path(made.added))
