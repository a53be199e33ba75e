"""Layers that keep every elastic layer's promises: how to make them, sizes and inputs for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic import (
    AttentionSizes,
    Axis,
    ElasticAttention,
    ElasticBatchNorm,
    ElasticBlock,
    ElasticDepthwise,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticLocal,
    ElasticModule,
    ElasticPatchEmbed,
    LinearSizes,
)
from vitsearch.elastic.layers.local import DepthwiseSizes, LocalSizes
from vitsearch.spaces import BlockPlan
from vitsearch.spaces.parts import GlitMixerPlan, MlpPlan, PatchStemPlan
from vitsearch.supernet import make_layer


def randomised(module: nn.Module, seed: int = 0) -> Any:
    """The module in float64 with random numbers everywhere, buffers too; variances positive."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * 0.5)
    return module


@dataclass(frozen=True)
class Case:
    """A layer, sizes that it can be called with (largest last), and inputs for them.

    Attributes:
        make: The layer that serves these sizes; for a single one, a layer of exactly that size.
        sizes: What the layer is called with.
        shape: Of the input, by sizes.
    """

    make: Callable[[Sequence[Any]], ElasticModule[Any]]
    sizes: tuple[Any, ...]
    shape: Callable[[Any], tuple[int, ...]]

    def layer(self) -> ElasticModule[Any]:
        return randomised(self.make(self.sizes))

    def exact(self, sizes: Any) -> ElasticModule[Any]:
        return randomised(self.make((sizes,)), seed=9)

    def input(self, sizes: Any, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.shape(sizes), generator=generator, dtype=torch.float64)


def tokens(width: str) -> Callable[[Any], tuple[int, ...]]:
    return lambda sizes: (3, 10, getattr(sizes, width))


def axis(sizes: Sequence[Any], name: str) -> Axis:
    return Axis([getattr(one, name) for one in sizes])


def axes(shapes: Sequence[tuple[int, ...]]) -> tuple[Axis, ...]:
    return tuple(map(Axis, zip(*shapes, strict=True)))


def linear(sizes: Sequence[LinearSizes], *, bias: bool = True) -> ElasticLinear:
    inputs, outputs = axes([s.in_shape for s in sizes]), axes([s.out_shape for s in sizes])
    return ElasticLinear(inputs, outputs, bias=bias)


def depthwise(sizes: Sequence[DepthwiseSizes], num_dims: int) -> ElasticDepthwise:
    kernel_size = max(s.kernel_size for s in sizes)
    return ElasticDepthwise(axis(sizes, "channels"), kernel_size, num_dims=num_dims)


def local(sizes: Sequence[LocalSizes], *, on_grid: bool) -> ElasticLocal:
    kernel_size = max(s.kernel_size for s in sizes)
    dim, inner_dim = axis(sizes, "dim"), axis(sizes, "inner_dim")
    return ElasticLocal(dim, inner_dim, kernel_size, on_grid=on_grid)


def attention(sizes: Sequence[AttentionSizes]) -> ElasticAttention:
    return ElasticAttention(*(axis(sizes, n) for n in ("embed_dim", "num_heads", "head_dim")))


def block(sizes: Sequence[BlockPlan]) -> ElasticBlock:
    mixer, mlp = make_layer([s.mixer for s in sizes]), make_layer([s.mlp for s in sizes])
    return ElasticBlock(axis(sizes, "embed_dim"), mixer, mlp)


def mixer_plan(thirds: int, *, local: str, expansion: float, kernel: int) -> GlitMixerPlan:
    return GlitMixerPlan(
        embed_dim=12,
        num_tokens=10,
        grid=(3, 3),
        global_dim=4 * thirds,
        num_heads=thirds,
        head_dim=6 if thirds == 3 else 4 if thirds else 0,
        local_dim=12 - 4 * thirds,
        local_inner=round((12 - 4 * thirds) * expansion),
        kernel_size=kernel if thirds < 3 else 0,
        local=local,
    )


def block_plan(thirds: int, hidden: int, **options: Any) -> BlockPlan:
    return BlockPlan(
        embed_dim=12,
        norm_eps=1e-6,
        mixer=mixer_plan(thirds, **options),
        mlp=MlpPlan(embed_dim=12, hidden_dim=hidden, num_tokens=10),
    )


def stem_plan(patch_size: int, embed_dim: int, num_prefix_tokens: int = 1) -> PatchStemPlan:
    return PatchStemPlan(
        patch_size=patch_size,
        in_chans=2,
        embed_dim=embed_dim,
        grid=(12 // patch_size, 12 // patch_size),
        num_prefix_tokens=num_prefix_tokens,
    )


MIXES = [(0, 1, 3), (1, 2, 5), (2, 4, 5), (3, 1, 5), (0, 4, 5)]
CASES = {
    "linear": Case(
        linear,
        (LinearSizes((2,), (3,)), LinearSizes((6,), (5,)), LinearSizes((6,), (8,))),
        lambda sizes: (3, 4, *sizes.in_shape),
    ),
    "linear on a grid": Case(
        lambda sizes: linear(sizes, bias=False),
        (
            LinearSizes((4,), (3, 2, 3)),
            LinearSizes((5,), (3, 3, 4)),
            LinearSizes((6,), (3, 4, 5)),
        ),
        lambda sizes: (3, 4, *sizes.in_shape),
    ),
    "layer norm": Case(
        lambda sizes: ElasticLayerNorm(Axis(sizes)), (3, 7, 8), lambda sizes: (3, 5, sizes)
    ),
    "batch norm": Case(
        lambda sizes: ElasticBatchNorm(Axis(sizes)), (3, 7, 8), lambda sizes: (3, sizes, 5)
    ),
    "depthwise 1-D": Case(
        lambda sizes: depthwise(sizes, 1),
        (DepthwiseSizes(3, 1), DepthwiseSizes(6, 5), DepthwiseSizes(8, 7)),
        lambda sizes: (3, sizes.channels, 10),
    ),
    "depthwise 2-D": Case(
        lambda sizes: depthwise(sizes, 2),
        (DepthwiseSizes(3, 3), DepthwiseSizes(7, 3), DepthwiseSizes(8, 5)),
        lambda sizes: (3, sizes.channels, 3, 4),
    ),
    "local sequence": Case(
        lambda sizes: local(sizes, on_grid=False),
        (LocalSizes(2, 4, 3, (3, 3)), LocalSizes(5, 22, 5, (3, 3)), LocalSizes(6, 24, 5, (3, 3))),
        tokens("dim"),
    ),
    "local grid": Case(
        lambda sizes: local(sizes, on_grid=True),
        (LocalSizes(2, 4, 3, (3, 3)), LocalSizes(5, 22, 5, (3, 3)), LocalSizes(6, 24, 5, (3, 3))),
        tokens("dim"),
    ),
    "attention": Case(
        attention,
        (AttentionSizes(4, 1, 2), AttentionSizes(8, 2, 8), AttentionSizes(12, 3, 8)),
        tokens("embed_dim"),
    ),
    "mlp": Case(
        make_layer,
        (
            MlpPlan(embed_dim=5, hidden_dim=7, num_tokens=10),
            MlpPlan(embed_dim=10, hidden_dim=45, num_tokens=10),
            MlpPlan(embed_dim=12, hidden_dim=48, num_tokens=10),
        ),
        tokens("embed_dim"),
    ),
    "mixer sequence": Case(
        make_layer,
        tuple(mixer_plan(t, local="sequence", expansion=e, kernel=k) for t, e, k in MIXES),
        tokens("embed_dim"),
    ),
    "mixer grid": Case(
        make_layer,
        tuple(mixer_plan(t, local="grid", expansion=e, kernel=k) for t, e, k in MIXES),
        tokens("embed_dim"),
    ),
    "block": Case(
        block,
        tuple(block_plan(t, 12 * e, local="sequence", expansion=e, kernel=k) for t, e, k in MIXES),
        tokens("embed_dim"),
    ),
    "patch embedding": Case(
        lambda sizes: ElasticPatchEmbed(Axis(sizes), 4, 2, 9), (3, 7, 8), lambda _: (3, 2, 12, 12)
    ),
    "patch stem": Case(
        make_layer,
        (stem_plan(4, 3), stem_plan(6, 8), stem_plan(4, 7), stem_plan(4, 8)),
        lambda sizes: (3, 2, 12, 12),
    ),
    "patch stem with a distillation token": Case(
        make_layer,
        tuple(stem_plan(4, width, 2) for width in (3, 7, 8)),
        lambda sizes: (3, 2, 12, 12),
    ),
}
