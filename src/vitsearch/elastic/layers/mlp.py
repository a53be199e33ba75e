"""Linear, GELU, linear, with elastic width in and between."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.axis import AxisLike
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes


class MlpSizes(Protocol):
    """C and the hidden width."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def hidden_dim(self) -> int:
        """Channels between the layers."""


class ElasticMlp(ElasticModule[MlpSizes]):
    """The MLP of a transformer block."""

    def __init__(self, dim: AxisLike, hidden_dim: AxisLike) -> None:
        super().__init__()
        self.fc1 = ElasticLinear(dim, hidden_dim)
        self.fc2 = ElasticLinear(hidden_dim, dim)

    def children_sizes(self, sizes: MlpSizes) -> dict[str, LinearSizes]:
        """The first channels and hidden units."""
        dim, hidden = (sizes.embed_dim,), (sizes.hidden_dim,)
        return {"fc1": LinearSizes(dim, hidden), "fc2": LinearSizes(hidden, dim)}

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The hidden units."""
        made = self.fc1.places_of("fc1", rows=0)
        return (TiedAxis((*made, *self.fc2.places_of("fc2", columns=0)), "fc2.weight"),)

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The second."""
        return (self.fc2,)

    def forward(self, x: Tensor, sizes: MlpSizes, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        children = self.children_sizes(sizes)
        hidden = F.gelu(self.fc1(x, children["fc1"], context))
        return self.fc2(hidden, children["fc2"], context)  # type: ignore[no-any-return]
