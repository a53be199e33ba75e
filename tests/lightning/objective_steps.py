"""Modules and steps for the tests of objectives, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from vitsearch.data import FashionMini
from vitsearch.lightning import SearchableClassifier
from vitsearch.lightning.objectives import StepOutputs
from vitsearch.spaces import Architecture, SearchSpace, build_space

HEADS = {"head.patch_head": True, "head.distillation": True}


@cache
def small_space(name: str = "glit", **heads: bool) -> SearchSpace:
    """Few blocks; several widths and grids."""
    if name == "vit_resnas":
        return build_space(
            name,
            num_blocks=[1, 1, 1],
            skippable=None,
            embed_dims=[[16, 24], [32], [32, 48]],
            **{"head.patch_head": True},
        )
    sizes: Any = {"patch_sizes": [4, 7], "mixer.head_dim": 12}
    return build_space("glit", num_blocks=2, embed_dims=[24, 36], **sizes, **(heads or HEADS))


class Constant(nn.Module):
    """A teacher that says the same of every image, or what its one weight makes of its mean."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(num_classes, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None] * 3 + self.weight.expand(len(images), -1)


def dense_scores(images: Tensor) -> Tensor:
    """Logits (B, 10, 3, 3) of the means of nine parts of each image."""
    means = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 3)
    return means * torch.linspace(-4, 4, 10, dtype=images.dtype).view(1, -1, 1, 1)


def make_module(
    objective: Any, space: SearchSpace | None = None, **settings: Any
) -> SearchableClassifier:
    torch.manual_seed(0)
    module = SearchableClassifier(space or small_space(), 10, objective=objective, **settings)
    with torch.no_grad():
        for parameter in module.net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    module.prepare_objective(FashionMini())
    return module.double().train()


def make_batch(space: SearchSpace, size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (size, space.in_chans, space.image_size, space.image_size)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(10, (size,), generator=generator)


def run_step(
    module: SearchableClassifier, architectures: Sequence[Architecture], seed: int = 0
) -> StepOutputs:
    """One step on a batch of eight; mixing depends on the seed alone."""
    np.random.seed(seed)
    module.step_architectures = list(architectures)
    return module.run_step(*make_batch(module.space, seed=seed))


def one_share(module: SearchableClassifier, step: StepOutputs, index: int) -> StepOutputs:
    """The step as if one architecture alone had been run, on its own images."""
    architecture, share = step.architectures[index], step.shares[index]
    images = step.images[share.start : share.stop]
    layers = module.objective.layers
    heads = tuple(module.net.forward_heads(images, architecture, layers=layers))
    heads = heads if step.heads else ()
    logits = heads[0].answer if heads else module.net(images, architecture)
    return replace(step, architectures=(architecture,), shares=(share,), logits=logits, heads=heads)


def gradients(module: SearchableClassifier, *losses: Tensor) -> dict[str, Tensor]:
    """The sum of the gradients of losses, of the parameters that have one."""
    module.net.zero_grad()
    for loss in losses:
        if loss.requires_grad:
            loss.backward(retain_graph=True)
    return {n: p.grad.clone() for n, p in module.net.named_parameters() if p.grad is not None}


def tiny_vit(**options: Any) -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = timm.create_model(
        "test_vit", **{"num_classes": 10, "img_size": 28, "patch_size": 7, **options}
    )
    return network
