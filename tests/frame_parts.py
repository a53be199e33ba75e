"""Parts that are not in the library, to try its frame with: convolutions in front of tokens.

A stem that gives a map, residual blocks on it, a transition from the map to tokens, and a head that
reads the last node of two stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch import SearchSpace
from vitsearch.elastic import (
    Axis,
    Context,
    ConvSizes,
    ElasticBatchNorm,
    ElasticConv2d,
    ElasticLinear,
    ElasticModule,
    ElasticPatchEmbed,
    LinearSizes,
)
from vitsearch.elastic.base import PLAIN
from vitsearch.spaces import Choice, Cost, Map, Node, Tokens
from vitsearch.spaces.cost import linear_cost
from vitsearch.spaces.parts import BLOCKS, HEADS, STEMS, TRANSITIONS, BlockKind, HeadPart
from vitsearch.spaces.plan import widths_of
from vitsearch.supernet import head_for, layer_for

TAPS = 9


@dataclass(frozen=True, kw_only=True)
class ConvPlan:
    """A strided 3x3 convolution, BatchNorm and ReLU."""

    in_chans: int
    embed_dim: int
    grid: tuple[int, int]

    def cost(self) -> Cost:
        weights = TAPS * self.in_chans * self.embed_dim
        return Cost(self.grid[0] * self.grid[1] * weights, weights + 2 * self.embed_dim)


@STEMS.register("conv_map")
class ConvMapStem:
    gives = Map

    def __init__(self, settings: Any, context: Any) -> None:
        pass

    def choices(self) -> tuple[Choice, ...]:
        return ()

    def grid(self, values: Any, image_size: int) -> tuple[int, int]:
        return image_size // 2, image_size // 2

    def plan(self, values: Any, *, image_size: int, in_chans: int, embed_dim: int, **_: Any):
        grid = self.grid(values, image_size)
        return ConvPlan(in_chans=in_chans, embed_dim=embed_dim, grid=grid)


@layer_for(ConvPlan)
class ConvMap(ElasticModule[ConvPlan]):
    def __init__(self, plans: Sequence[ConvPlan]) -> None:
        super().__init__()
        width = Axis(widths_of(plans, "embed_dim"))
        self.conv = ElasticConv2d(plans[0].in_chans, width, 3, stride=2, bias=False)
        self.norm = ElasticBatchNorm(width)

    def children_sizes(self, sizes: ConvPlan) -> dict[str, Any]:
        return {"conv": ConvSizes(sizes.in_chans, sizes.embed_dim), "norm": sizes.embed_dim}

    def forward(self, images: Tensor, sizes: ConvPlan, context: Context = PLAIN) -> Tensor:
        of = self.children_sizes(sizes)
        return F.relu(self.norm(self.conv(images, of["conv"], context), of["norm"], context))


@dataclass(frozen=True, kw_only=True)
class ResidualPlan:
    """x + conv2(relu(norm(conv1(x))))."""

    embed_dim: int
    inner: int
    grid: tuple[int, int]

    def cost(self) -> Cost:
        weights = 2 * TAPS * self.embed_dim * self.inner
        macs = self.grid[0] * self.grid[1] * weights
        return Cost(macs, weights + 2 * self.inner + self.embed_dim)


@BLOCKS.register("residual")
class Residual(BlockKind):
    flow = Map

    def __init__(self, settings: Any, context: Any) -> None:
        self.inner = settings.integers("inner")

    def choices(self) -> tuple[Choice, ...]:
        return (Choice(name="inner", options=self.inner),)

    def plan(self, values: Any, tokens: Map) -> ResidualPlan:
        return ResidualPlan(embed_dim=tokens.embed_dim, inner=values["inner"], grid=tokens.grid)


@layer_for(ResidualPlan)
class ResidualBlock(ElasticModule[ResidualPlan]):
    def __init__(self, plans: Sequence[ResidualPlan]) -> None:
        super().__init__()
        width, inner = Axis(widths_of(plans, "embed_dim")), Axis(widths_of(plans, "inner"))
        self.conv1 = ElasticConv2d(width, inner, 3, bias=False)
        self.norm = ElasticBatchNorm(inner)
        self.conv2 = ElasticConv2d(inner, width, 3)

    def children_sizes(self, sizes: ResidualPlan) -> dict[str, Any]:
        return {
            "conv1": ConvSizes(sizes.embed_dim, sizes.inner),
            "norm": sizes.inner,
            "conv2": ConvSizes(sizes.inner, sizes.embed_dim),
        }

    def forward(self, x: Tensor, sizes: ResidualPlan, context: Context = PLAIN) -> Tensor:
        of = self.children_sizes(sizes)
        y = F.relu(self.norm(self.conv1(x, of["conv1"], context), of["norm"], context))
        return x + self.conv2(y, of["conv2"], context)


@dataclass(frozen=True, kw_only=True)
class TokensOfMapPlan:
    """Patches of a map, a class token and positions."""

    in_dim: int
    embed_dim: int
    grid: tuple[int, int]

    def cost(self) -> Cost:
        patches, weights = self.grid[0] * self.grid[1], 4 * self.in_dim * self.embed_dim
        params = weights + self.embed_dim + (2 + patches) * self.embed_dim
        return Cost(patches * weights, params)


@TRANSITIONS.register("tokens_of_map")
class TokensOfMap:
    takes, gives = Map, Tokens

    def __init__(self, settings: Any, context: Any) -> None:
        pass

    def choices(self) -> tuple[Choice, ...]:
        return ()

    def grid(self, values: Any, grid: tuple[int, int]) -> tuple[int, int]:
        return grid[0] // 2, grid[1] // 2

    def plan(self, values: Any, before: Map, after: Tokens) -> TokensOfMapPlan:
        return TokensOfMapPlan(in_dim=before.embed_dim, embed_dim=after.embed_dim, grid=after.grid)


@layer_for(TokensOfMapPlan)
class TokensOfMapLayer(ElasticModule[TokensOfMapPlan]):
    """Of fixed channels in, because `ElasticPatchEmbed` has no others."""

    def __init__(self, plans: Sequence[TokensOfMapPlan]) -> None:
        super().__init__()
        grid, width = plans[0].grid, Axis(widths_of(plans, "embed_dim"))
        self.patches = ElasticPatchEmbed(width, 2, plans[0].in_dim, grid[0] * grid[1])

    def children_sizes(self, sizes: TokensOfMapPlan) -> dict[str, Any]:
        return {"patches": sizes.embed_dim}

    def forward(self, x: Tensor, sizes: TokensOfMapPlan, context: Context = PLAIN) -> Tensor:
        return self.patches(x, sizes.embed_dim, context)


@dataclass(frozen=True, kw_only=True)
class TwoStagesPlan:
    """A linear layer on the means of a map and of tokens, side by side."""

    first: int
    embed_dim: int
    num_prefix_tokens: int = 1

    def cost(self, num_classes: int) -> Cost:
        return linear_cost(self.first + self.embed_dim, num_classes)


@HEADS.register("two_stages")
class TwoStages(HeadPart):
    sees_all = True

    def __init__(self, settings: Any, context: Any) -> None:
        pass

    def reads(self, nodes: Sequence[Node]) -> tuple[str, ...]:
        return tuple(node.name for node in nodes)

    def plan(self, values: Any, nodes: Sequence[Node]) -> TwoStagesPlan:
        first, last = (node.shape.embed_dim for node in nodes)
        return TwoStagesPlan(first=first, embed_dim=last)


@head_for(TwoStagesPlan)
class TwoStagesHead(ElasticModule[TwoStagesPlan]):
    def __init__(self, plans: Sequence[TwoStagesPlan], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.of_map = ElasticLinear(Axis(widths_of(plans, "first")), num_classes, bias=False)
        self.of_tokens = ElasticLinear(Axis(widths_of(plans, "embed_dim")), num_classes)

    def children_sizes(self, sizes: TwoStagesPlan) -> dict[str, Any]:
        return {
            "of_map": LinearSizes((sizes.first,), (self.num_classes,)),
            "of_tokens": LinearSizes((sizes.embed_dim,), (self.num_classes,)),
        }

    def forward(
        self, x: Tensor, tokens: Tensor, sizes: TwoStagesPlan, context: Context = PLAIN
    ) -> Tensor:
        of = self.children_sizes(sizes)
        seen = self.of_map(x.mean(dim=(2, 3)), of["of_map"], context)
        return seen + self.of_tokens(tokens[:, 1:].mean(dim=1), of["of_tokens"], context)


def hybrid_space(**head: Any) -> SearchSpace:
    """Two residual blocks on a map, then a stage of a vision transformer."""
    return SearchSpace(
        {
            "name": "hybrid",
            "image_size": 16,
            "in_chans": 1,
            "num_stages": 2,
            "num_blocks": [2, 2],
            "skippable": [[1], [0, 1]],
            "embed_dims": [[6], [12, 24]],
            "stem": {"kind": "conv_map"},
            "block": [{"kind": "residual", "inner": [4, 8, 12]}, {"kind": "transformer"}],
            "transition": {"kind": "tokens_of_map"},
            "mixer": {"kind": "attention", "num_heads": [1, 2, 3], "head_dim": 4},
            "mlp": {"kind": "mlp", "ratios": [1, 2]},
            "head": {"pool": "avg", **head},
        }
    )


def zero(module: nn.Module) -> None:
    """Set every weight to zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
