"""A part: an MLP whose hidden channels are gated, silu(a) * b (SwiGLU, Shazeer 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import Axis, Context, ElasticLinear, ElasticModule, LinearSizes
from vitsearch.spaces import Choice, Cost
from vitsearch.spaces.cost import linear_cost
from vitsearch.spaces.parts import MLPS, StageContext, TokenContext
from vitsearch.spaces.settings import Settings
from vitsearch.supernet import layer_for

# What can be chosen, and what it costs: no torch needed.


@dataclass(frozen=True, kw_only=True)
class GatedPlan:
    embed_dim: int
    hidden_dim: int
    num_tokens: int

    def cost(self) -> Cost:
        up = linear_cost(self.embed_dim, 2 * self.hidden_dim, num_tokens=self.num_tokens)
        return up + linear_cost(self.hidden_dim, self.embed_dim, num_tokens=self.num_tokens)


@MLPS.register("gated")
class GatedMlp:
    def __init__(self, settings: Settings, context: StageContext) -> None:
        self.ratios = settings.numbers("ratios")

    def choices(self) -> tuple[Choice, ...]:
        return (Choice(name="mlp_ratio", options=self.ratios),)

    def plan(self, values: dict[str, Any], tokens: TokenContext) -> GatedPlan:
        hidden = round(values["mlp_ratio"] * tokens.embed_dim)
        return GatedPlan(
            embed_dim=tokens.embed_dim, hidden_dim=hidden, num_tokens=tokens.num_tokens
        )


# How it runs: sizes are arguments of the call, and every child is told its own.


class ElasticGatedMlp(ElasticModule[GatedPlan]):
    def __init__(self, dim: Axis, hidden_dim: Axis) -> None:
        super().__init__()
        self.fc1 = ElasticLinear(dim, (2, hidden_dim))
        self.fc2 = ElasticLinear(hidden_dim, dim)

    def children_sizes(self, sizes: GatedPlan) -> dict[str, LinearSizes]:
        dim, hidden = (sizes.embed_dim,), (sizes.hidden_dim,)
        return {"fc1": LinearSizes(dim, (2, *hidden)), "fc2": LinearSizes(hidden, dim)}

    def forward(self, x: Tensor, sizes: GatedPlan, context: Context) -> Tensor:
        children = self.children_sizes(sizes)
        gate, value = self.fc1(x, children["fc1"], context).chunk(2, dim=-1)
        return self.fc2(F.silu(gate) * value, children["fc2"], context)


@layer_for(GatedPlan)
def gated_mlp(plans: list[GatedPlan]) -> ElasticGatedMlp:
    return ElasticGatedMlp(
        Axis([plan.embed_dim for plan in plans]), Axis([plan.hidden_dim for plan in plans])
    )
