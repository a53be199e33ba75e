"""Predicts which patch tokens go on (DynamicViT, NeurIPS 2021, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.axis import Axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticLayerNorm

_EPS = 1e-6


class ElasticTokenPredictor(ElasticModule[int]):
    """LayerNorm, C to C, then half of the channels stand for all tokens: C to C/2, C/4, 2.

    `sizes` is C, a multiple of 4. It is shared by all shares of tokens that can be kept.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        """Build it.

        Args:
            dims: Every width C.
        """
        super().__init__()
        dim, half, quarter = (Axis([width // part for width in dims]) for part in (1, 2, 4))
        self.norm = ElasticLayerNorm(dim, 1e-5)
        self.first = ElasticLinear(dim, (2, half))
        self.second = ElasticLinear((2, half), half)
        self.third = ElasticLinear(half, quarter)
        self.last = ElasticLinear(quarter, 2)

    def children_sizes(self, sizes: int) -> dict[str, int | LinearSizes]:
        """Each layer halves the channels."""
        dim, half, quarter = (sizes,), (sizes // 2,), (sizes // 4,)
        return {
            "norm": sizes,
            "first": LinearSizes(dim, (2, *half)),
            "second": LinearSizes((2, *half), half),
            "third": LinearSizes(half, quarter),
            "last": LinearSizes(quarter, (2,)),
        }

    def forward(self, x: Tensor, there: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """Log-probabilities (B, n, 2) of going on and of being dropped.

        Args:
            x: (B, n, C) patch tokens.
            there: (B, n) 1 for those that have not been dropped, 0 for the others.
            sizes: C.
            context: What the call carries besides sizes.
        """
        of = self.children_sizes(sizes)
        x = F.gelu(self.first(self.norm(x, of["norm"], context), of["first"], context))
        local, others = x.chunk(2, dim=-1)
        there = there.unsqueeze(-1)
        mean = (others * there).sum(dim=1, keepdim=True) / (there.sum(dim=1, keepdim=True) + _EPS)
        x = torch.cat([local, mean.expand_as(local)], dim=-1)
        x = F.gelu(self.second(x, of["second"], context))
        x = F.gelu(self.third(x, of["third"], context))
        return self.last(x, of["last"], context).log_softmax(dim=-1)  # type: ignore[no-any-return]


def predictor_sizes(sizes: Any) -> dict[str, int]:
    """What a block gives its predictor, by its name; nothing where it predicts nothing."""
    step = getattr(sizes, "tokens", None)
    return {"predictor": sizes.embed_dim} if step is not None and predicts(step) else {}


def predicts(step: Any) -> bool:
    """Whether a step needs a predictor."""
    return bool(step.in_front and step.kept)


def predicting(
    predictor: ElasticTokenPredictor | None, sizes: Any, context: Context
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """A block's predictor at its sizes; `None` where there is none."""
    if predictor is None:
        return None
    return lambda x, there: predictor(x, there, sizes.embed_dim, context)
