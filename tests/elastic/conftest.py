from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitsearch.elastic import (
    AttentionSizes,
    ElasticAttention,
    ElasticBatchNorm,
    ElasticBlock,
    ElasticDepthwise,
    ElasticGlitMixer,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticLocal,
    ElasticMlp,
    ElasticModule,
    ElasticPatchEmbed,
    ElasticPatchStem,
    LinearSizes,
)
from vitsearch.elastic.local import DepthwiseSizes, LocalSizes
from vitsearch.spaces import BlockPlan
from vitsearch.spaces.parts import GlitMixerPlan, MlpPlan, PatchStemPlan


def randomised(module: nn.Module, seed: int = 0) -> Any:
    """The module in float64 with random numbers everywhere, buffers too; variances positive."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * 0.5)
    return module


@pytest.fixture(scope="session", name="randomised")
def _randomised() -> Callable[..., Any]:
    return randomised


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
        slot=0,
        embed_dim=12,
        norm_eps=1e-6,
        mixer=mixer_plan(thirds, **options),
        mlp=MlpPlan(embed_dim=12, hidden_dim=hidden, num_tokens=10),
    )


def mixer(local: str) -> ElasticGlitMixer:
    return ElasticGlitMixer(
        ElasticAttention(12, 3, 6), ElasticLocal(12, 48, 5, on_grid=local == "grid")
    )


def stem_plan(patch_size: int, embed_dim: int) -> PatchStemPlan:
    grid = 12 // patch_size
    return PatchStemPlan(patch_size=patch_size, in_chans=2, embed_dim=embed_dim, grid=(grid, grid))


@dataclass(frozen=True)
class Case:
    """A layer, sizes that it can be called with (largest last), and inputs for them."""

    make: Callable[[], ElasticModule[Any]]
    sizes: tuple[Any, ...]
    shape: Callable[[Any], tuple[int, ...]]

    def layer(self) -> ElasticModule[Any]:
        return randomised(self.make())

    def input(self, sizes: Any, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.shape(sizes), generator=generator, dtype=torch.float64)


def tokens(width: str) -> Callable[[Any], tuple[int, ...]]:
    return lambda sizes: (3, 10, getattr(sizes, width))


MIXES = [(0, 1, 3), (1, 2, 5), (2, 4, 5), (3, 1, 5), (0, 4, 5)]
CASES = {
    "linear": Case(
        lambda: ElasticLinear(6, 8),
        (LinearSizes((2,), (3,)), LinearSizes((6,), (5,)), LinearSizes((6,), (8,))),
        lambda sizes: (3, 4, *sizes.in_shape),
    ),
    "linear on a grid": Case(
        lambda: ElasticLinear(6, (3, 4, 5), bias=False),
        (LinearSizes((4,), (3, 2, 3)), LinearSizes((6,), (3, 4, 5))),
        lambda sizes: (3, 4, *sizes.in_shape),
    ),
    "layer norm": Case(lambda: ElasticLayerNorm(8), (3, 8), lambda sizes: (3, 5, sizes)),
    "batch norm": Case(lambda: ElasticBatchNorm(8), (3, 8), lambda sizes: (3, sizes, 5)),
    "depthwise 1-D": Case(
        lambda: ElasticDepthwise(8, 7, num_dims=1),
        (DepthwiseSizes(3, 1), DepthwiseSizes(8, 5), DepthwiseSizes(8, 7)),
        lambda sizes: (3, sizes.channels, 10),
    ),
    "depthwise 2-D": Case(
        lambda: ElasticDepthwise(8, 5, num_dims=2),
        (DepthwiseSizes(3, 3), DepthwiseSizes(8, 5)),
        lambda sizes: (3, sizes.channels, 3, 4),
    ),
    "local sequence": Case(
        lambda: ElasticLocal(6, 24, 5, on_grid=False),
        (LocalSizes(2, 4, 3, (3, 3)), LocalSizes(6, 24, 5, (3, 3))),
        tokens("dim"),
    ),
    "local grid": Case(
        lambda: ElasticLocal(6, 24, 5, on_grid=True),
        (LocalSizes(2, 4, 3, (3, 3)), LocalSizes(6, 24, 5, (3, 3))),
        tokens("dim"),
    ),
    "attention": Case(
        lambda: ElasticAttention(12, 3, 8),
        (AttentionSizes(4, 1, 2), AttentionSizes(8, 2, 8), AttentionSizes(12, 3, 8)),
        tokens("embed_dim"),
    ),
    "mlp": Case(
        lambda: ElasticMlp(12, 48),
        (
            MlpPlan(embed_dim=5, hidden_dim=7, num_tokens=10),
            MlpPlan(embed_dim=12, hidden_dim=48, num_tokens=10),
        ),
        tokens("embed_dim"),
    ),
    "mixer sequence": Case(
        lambda: mixer("sequence"),
        tuple(mixer_plan(t, local="sequence", expansion=e, kernel=k) for t, e, k in MIXES),
        tokens("embed_dim"),
    ),
    "mixer grid": Case(
        lambda: mixer("grid"),
        tuple(mixer_plan(t, local="grid", expansion=e, kernel=k) for t, e, k in MIXES),
        tokens("embed_dim"),
    ),
    "block": Case(
        lambda: ElasticBlock(12, mixer("sequence"), ElasticMlp(12, 72)),
        tuple(block_plan(t, 12 * e, local="sequence", expansion=e, kernel=k) for t, e, k in MIXES),
        tokens("embed_dim"),
    ),
    "patch embedding": Case(
        lambda: ElasticPatchEmbed(8, 4, 2, 9), (3, 8), lambda sizes: (3, 2, 12, 12)
    ),
    "patch stem": Case(
        lambda: ElasticPatchStem(
            {4: ElasticPatchEmbed(8, 4, 2, 9), 6: ElasticPatchEmbed(8, 6, 2, 4)}
        ),
        (stem_plan(4, 3), stem_plan(6, 8), stem_plan(4, 8)),
        lambda sizes: (3, 2, 12, 12),
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]
