"""A small network of timm in double precision, as people would have one, and its images."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import vitsearch
from vitsearch import SuperTransformer
from vitsearch.spaces import Architecture


def timm_network(**settings: Any) -> nn.Module:
    """Three blocks of 24 channels, 12 px images; every parameter away from its start."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(
            "vit_tiny_patch16_224", img_size=12, patch_size=4, **{**sizes, **settings}
        ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise, alpha=0.1)
    return network.eval()


def supernet(*, tokens: dict[str, Any] | None = None, **settings: Any) -> SuperTransformer:
    """The same, elastic; `tokens` as `from_timm` takes them."""
    return vitsearch.from_timm(timm_network(**settings), tokens=tokens)


def images(count: int = 48, seed: int = 1) -> Tensor:
    """(count, 3, 12, 12)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 12, 12, generator=generator, dtype=torch.float64)


def batches(count: int = 48, seed: int = 1) -> list[Tensor]:
    """The same in three uneven batches."""
    sizes = [count // 2, count // 3]
    return list(images(count, seed).split([*sizes, count - sum(sizes)]))


def with_sizes(net: SuperTransformer, **sizes: Any) -> Architecture:
    """The largest architecture with other values, by the short names of choices."""
    values = {}
    for choice in net.space.choices:
        short = choice.name.rpartition(".")[2]
        values[choice.name] = sizes.get(choice.name, sizes.get(short, choice.options[-1]))
    return net.space.canonical(values)
