from __future__ import annotations

import pytest
import timm
import torch

import vitsearch
from vitsearch import SuperTransformer
from vitsearch.shrinking import Profile, profile_branches
from vitsearch.supernet.repairing import Calibration


def make_network(*, tokens: dict[str, object] | None = None, **options: object) -> SuperTransformer:
    """A small network of timm with large weights, converted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=28,
            patch_size=7,
            in_chans=1,
            embed_dim=24,
            depth=3,
            num_heads=3,
            num_classes=10,
            init_values=1.0,
        )
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return vitsearch.from_timm(network.eval(), options=options, tokens=tokens)


def make_images(count: int = 64, seed: int = 0) -> list[torch.Tensor]:
    """Batches of smooth noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 7, 7, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=28, mode="bilinear")
    return list(images.split(32))


@pytest.fixture(scope="session")
def network() -> SuperTransformer:
    """In order; to be looked at, not changed."""
    net = make_network()
    net.order(net.calibrate(make_images()))
    return net


@pytest.fixture(scope="session")
def calibration(network: SuperTransformer) -> Calibration:
    return network.calibrate(make_images())


@pytest.fixture(scope="session")
def profile(network: SuperTransformer, calibration: Calibration) -> Profile:
    return profile_branches(network, calibration, make_images(16))
