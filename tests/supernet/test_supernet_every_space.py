"""In every space: extracted network = supernet = its share of a mixed batch, at the cost foretold.

All spaces by name and composed ones; see `tests/every_space.py` for what is made small. Narrow ones
are extracted and measured for 40 random architectures and both ends, those of the youngest families
for 100. With wide ones that takes most of a second each, so of theirs 4 are extracted, and 12 more
measured without weights; `tests/costs/test_costs_every_space.py` has the closed forms of 100.
"""

from __future__ import annotations

import random

import pytest
import torch
from tests.every_space import EVERY, drawn, perturbed, quick_space
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import Architecture, SuperTransformer, VisionTransformer

COUNT, WIDE, MEASURED, CLASSES = 40, 4, 12, 5
THOROUGH = dict.fromkeys(("vt", "vt_resnet18", "resnet50", "hr_nas"), 100)
NARROW = 8_000_000  # parameters of the supernet, blocks of each stage apart


def make_supernet(name: str, **settings: str) -> SuperTransformer:
    torch.manual_seed(0)
    return perturbed(SuperTransformer(quick_space(name), CLASSES, **settings)).double().eval()


def num_extracted(network: SuperTransformer) -> int:
    return COUNT if sum(p.numel() for p in network.parameters()) < NARROW else WIDE


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def check_measured(network: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    with FlopCounterMode(display=False) as counter:
        logits = network(images)
    params = sum(p.numel() for p in network.parameters())
    assert (counter.get_total_flops(), params) == (2 * network.cost().macs, network.cost().params)
    return logits


@torch.no_grad()
@pytest.mark.usefixtures("quick_building")
@pytest.mark.parametrize("name", EVERY)
def test_extracted_equals_supernet_and_costs_what_was_foretold(name: str) -> None:
    supernet = make_supernet(name)
    space = supernet.space
    shape = (1, space.in_chans, space.image_size, space.image_size)
    images = torch.randn(shape, dtype=torch.float64)
    extracted = THOROUGH.get(name) or num_extracted(supernet)
    chosen = drawn(space, WIDE + MEASURED if extracted == WIDE else extracted)
    for architecture in chosen[: extracted + 2]:
        network = supernet.extract(architecture)
        assert_equal(check_measured(network, images), supernet(images, architecture))
        assert network.cost() == supernet.cost(architecture)
    for architecture in chosen[extracted + 2 :]:
        with torch.device("meta"):
            network = VisionTransformer(space, architecture, CLASSES).eval()
        check_measured(network, images.float().to("meta"))


@torch.no_grad()
@pytest.mark.usefixtures("quick_building")
@pytest.mark.parametrize("name", EVERY)
def test_a_mixed_batch_equals_single_runs(name: str) -> None:
    supernet, rng = make_supernet(name), random.Random(1)
    space = supernet.space
    count = 24 if num_extracted(supernet) == COUNT else 6
    images = torch.randn(count, space.in_chans, space.image_size, space.image_size).double()
    chosen: list[Architecture] = []
    while len(chosen) < count:
        architecture = space.sample(rng)
        if architecture not in chosen:
            chosen.append(architecture)
    shares = zip(images.split(1), chosen, strict=True)
    single = torch.cat([supernet(share, architecture) for share, architecture in shares])
    for group in (2, count):
        for start in range(0, count, group):
            part = slice(start, start + group)
            assert_equal(supernet(images[part], chosen[part]), single[part])
