"""MLPs of timm's vision transformers: plain or gated, with an elastic hidden width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.axis import AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.vit.grid_norm import ElasticGridNorm


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "silu": F.silu,
    "relu": F.relu,
}


class VitMlpSizes(Protocol):
    """C and the hidden width; see `vitsearch.spaces.parts.VitMlpPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def hidden_dim(self) -> int:
        """Channels between the layers."""


class ElasticVitMlp(ElasticModule[VitMlpSizes]):
    """fc2(norm(act(fc1(x)))), or fc2(norm(act(fc1_g(x)) * fc1_x(x))) with a gate.

    Attributes:
        activation: One of `ACTIVATIONS`.
        fc1: The first layer of a plain MLP.
        fc1_g: The gate of a gated one.
        fc1_x: What is gated.
        norm: In front of the last layer, if any.
        fc2: The last layer.
    """

    def __init__(
        self,
        dim: AxisLike,
        hidden_dim: AxisLike,
        *,
        activation: str = "gelu",
        gated: bool = False,
        bias: bool = True,
        proj_bias: bool = True,
        inner_norm: tuple[str, float] | None = None,
    ) -> None:
        """Build the layer.

        Args:
            dim: C.
            hidden_dim: Channels between the layers.
            activation: One of `ACTIVATIONS`.
            gated: Whether there is a gate.
            bias: Whether what makes the hidden channels has a bias.
            proj_bias: Whether the last layer has one.
            inner_norm: Kind and epsilon of the norm in front of the last layer.
        """
        super().__init__()
        hidden_dim = as_axis(hidden_dim)
        self.activation = activation
        self.inward = ("fc1_g", "fc1_x") if gated else ("fc1",)
        for name in self.inward:
            self.add_module(name, ElasticLinear(dim, hidden_dim, bias=bias))
        self.norm = None
        if inner_norm is not None:
            self.norm = ElasticGridNorm((hidden_dim,), *inner_norm)
        self.fc2 = ElasticLinear(hidden_dim, dim, bias=proj_bias)

    def children_sizes(self, sizes: VitMlpSizes) -> dict[str, LinearSizes | tuple[int, ...]]:
        """The first channels and hidden units."""
        dim, hidden = (sizes.embed_dim,), (sizes.hidden_dim,)
        own: dict[str, LinearSizes | tuple[int, ...]] = dict.fromkeys(
            self.inward, LinearSizes(dim, hidden)
        )
        if self.norm is not None:
            own["norm"] = hidden
        return own | {"fc2": LinearSizes(hidden, dim)}

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The hidden units: with a gate, two rows each."""
        made = [layer.places_of(name, rows=0) for name, layer in self._inward_layers()]
        if self.norm is not None:
            made.append(self.norm.places_of("norm", 0))
        made.append(self.fc2.places_of("fc2", columns=0))
        return (TiedAxis(tuple(place for places in made for place in places), "fc2.weight"),)

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The last."""
        return (self.fc2,)

    def _inward_layers(self) -> list[tuple[str, ElasticLinear]]:
        found = []
        for name in self.inward:
            layer = getattr(self, name)
            assert isinstance(layer, ElasticLinear)
            found.append((name, layer))
        return found

    def forward(self, x: Tensor, sizes: VitMlpSizes, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        hidden = self.hidden(x, sizes, context)
        return self.fc2(hidden, self.children_sizes(sizes)["fc2"], context)  # type: ignore[no-any-return]

    def hidden(self, x: Tensor, sizes: VitMlpSizes, context: Context = PLAIN) -> Tensor:
        """The hidden channels (B, N, hidden_dim) that the last layer sees."""
        of = self.children_sizes(sizes)
        made = [layer(x, of[name], context) for name, layer in self._inward_layers()]
        hidden = ACTIVATIONS[self.activation](made[0])
        hidden = hidden if len(made) == 1 else hidden * made[1]
        return hidden if self.norm is None else self.norm(hidden, of["norm"], context)
