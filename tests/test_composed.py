"""Spaces put together from parts of different families are as exact as the families themselves."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import SearchSpace, SuperTransformer, build_space
from vitsearch.reports import describe_architecture

COMPOSED: dict[str, dict[str, Any]] = {
    "attention with GLiT's MLP": {"mixer": "attention"},
    "attention, two widths": {"mixer": "attention", "mlp": "mlp", "embed_dims": [24, 36]},
    "heads of a fixed dimension, mean of tokens": {
        "mixer": "attention",
        "mixer.num_heads": [2, 4],
        "mixer.head_dim": 6,
        "head": "avg",
    },
    "GLiT with an MLP of fixed widths": {"mlp": {"ratios": None, "hidden": [40, 72]}},
    "GLiT with two patch sizes": {"patch_sizes": [4, 7], "embed_dims": [24, 36]},
}


@pytest.fixture(params=COMPOSED, ids=lambda name: name.replace(" ", "_"))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return build_space("glit", num_blocks=3, **COMPOSED[request.param])


def test_extracted_equals_supernet_and_costs_equal_measured(space: SearchSpace) -> None:
    torch.manual_seed(0)
    net = SuperTransformer(space, 5).double().eval()
    rng = random.Random(1)
    images = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    for architecture in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(8))]:
        network = net.extract(architecture)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = network(images[:1])
        assert (logits - net(images[:1], architecture)).abs().max() < 1e-12
        assert counter.get_total_flops() == 2 * network.cost().macs
        assert sum(p.numel() for p in network.parameters()) == network.cost().params
        assert len(describe_architecture(space, architecture)) == 4


def test_a_mixed_batch_equals_single_runs(space: SearchSpace) -> None:
    net = SuperTransformer(space, 5).double().eval()
    rng = random.Random(2)
    images = torch.randn(6, 1, 28, 28, dtype=torch.float64)
    chosen = [space.sample(rng) for _ in range(3)]
    shares = zip(images.chunk(3), chosen, strict=True)
    single = torch.cat([net(share, architecture) for share, architecture in shares])
    assert (net(images, chosen) - single).abs().max() < 1e-12


def test_a_condition_on_a_choice_that_is_not_there_never_binds() -> None:
    space = build_space("glit", mixer="attention")
    assert all(f"stages.0.blocks.{i}.mlp_ratio" in space.smallest() for i in range(6))
