"""The closed forms against networks that run: half of torch's FLOPs, and counted parameters."""

from __future__ import annotations

import random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import vitsearch
from vitsearch.costs import cost_table


@pytest.fixture
def fresh_weights_do_not_matter(monkeypatch):
    """Skip drawing random weights, which takes most of the time of building a network."""
    for name in ("trunc_normal_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, **_: torch.nn.init.zeros_(tensor))


def measured(networks, images):
    """MACs and parameters of each network."""
    found, before = [], 0
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for network in networks:
            network(images)
            flops = counter.get_total_flops()
            assert (flops - before) % 2 == 0
            macs, before = (flops - before) // 2, flops
            found.append((macs, sum(p.numel() for p in network.parameters())))
    return found


def check(space, architectures, num_classes):
    networks = (
        vitsearch.VisionTransformer(space, architecture, num_classes=num_classes).eval()
        for architecture in architectures
    )
    images = torch.zeros(1, space.in_chans, space.image_size, space.image_size)
    table = cost_table(space, architectures, num_classes)
    found = measured(networks, images)
    assert found == list(zip(table["macs"].tolist(), table["params"].tolist(), strict=True))


@pytest.mark.usefixtures("fresh_weights_do_not_matter")
@pytest.mark.parametrize("num_classes", [0, 1, 10])
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"head": "avg"},
        {"embed_dims": [24, 50], "mixer.head_dim": 16, "patch_sizes": [4, 7, 14]},
        {"embed_dims": [36], "mixer.num_heads": 6, "mixer.head_dim": 12, "in_chans": 3},
        {"mixer": "attention", "mixer.num_heads": [1, 2, 5], "embed_dims": [30, 48]},
        {"mlp": "mlp", "mlp.ratios": None, "mlp.hidden": [10, 30]},
        {"mixer.local_expansions": [0.5, 1.5], "mlp.ratios": [0.3, 1.7]},
        {"num_stages": 2, "num_blocks": [1, 2], "mlp.ratios": [[2], [3]]},
    ],
    ids=[
        "plain",
        "avg",
        "widths and patches",
        "heads",
        "attention",
        "hidden",
        "fractions",
        "stages",
    ],
)
def test_other_sizes(overrides, num_classes):
    part_first = {k: v for k, v in overrides.items() if "." not in k}
    space = vitsearch.build_space("glit", **{**part_first, **overrides})
    rng = random.Random(0)
    ends = [space.smallest(), space.largest()]
    check(space, [*ends, *(space.sample(rng) for _ in range(4))], num_classes)


def test_network_knows_its_cost():
    space, rng = vitsearch.build_space("glit"), random.Random(0)
    supernet = vitsearch.SuperTransformer(space, num_classes=10)
    for _ in range(5):
        architecture = space.sample(rng)
        network = supernet.extract(architecture)
        expected = vitsearch.cost(space, architecture, num_classes=10)
        assert network.cost() == supernet.cost(architecture) == expected
        assert sum(p.numel() for p in network.parameters()) == expected.params
    # The supernet's weights serve its largest architecture; private parts come on top.
    assert sum(p.numel() for p in supernet.parameters()) >= supernet.cost(supernet.largest).params


def test_networks_can_be_built_without_memory():
    space = vitsearch.build_space("glit")
    with torch.device("meta"):
        network = vitsearch.VisionTransformer(space, space.largest(), num_classes=10)
    assert all(p.is_meta for p in network.parameters())
    assert sum(p.numel() for p in network.parameters()) == network.cost().params
