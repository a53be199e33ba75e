"""Networks of a paper's space whose tokens become fewer: parts, costs, shares of a batch."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tests.every_space import perturbed
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import Architecture, SearchSpace, SuperTransformer, build_space
from vitsearch.costs import cost_table

WAYS: dict[str, dict[str, Any]] = {
    "merged": {"tokens": {"kind": "merge", "merged": [0, 1, 2, 5]}},
    "falling": {"tokens": {"kind": "merge", "merged": [1, 3], "schedule": "falling"}},
    "kept": {"mixer": "attention", "tokens": {"kind": "keep", "keep": [0.5, 0.7, 1]}},
    "predicted": {"mixer": "attention", "tokens": {"kind": "predict", "keep": [0.6, 0.8, 1]}},
}


def space_of(way: str) -> SearchSpace:
    """GLiT-Tiny with 25 patches."""
    overrides = dict(WAYS[way])
    if "mixer" in overrides:
        overrides |= {"mixer.num_heads": [1, 3], "mixer.head_dim": 16}
    return build_space("glit_tiny", image_size=80, **overrides)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("quick_building")
def test_architectures_are_parts_and_cost_what_is_foretold(way: str) -> None:
    space, rng = space_of(way), random.Random(0)
    chosen = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(98))]
    network = perturbed(SuperTransformer(space, num_classes=3)).double().eval()
    x = torch.randn(2, 3, 80, 80, dtype=torch.float64)
    table = cost_table(space, chosen, 3)
    for number, architecture in enumerate(chosen):
        assert Architecture.from_json(architecture.to_json()) == architecture
        assert space.canonical(architecture) == architecture
        counted = space.plan(architecture).cost(3)
        assert (counted.macs, counted.params) == (table["macs"][number], table["params"][number])
        if number % 4:
            continue
        taken = network.extract(architecture)
        with torch.no_grad():
            assert (taken(x) - network(x, architecture)).abs().max() < 1e-12
        assert sum(p.numel() for p in taken.parameters()) == counted.params
        taken.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            taken(x[:1])
        assert counter.get_total_flops() == 2 * counted.macs


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("quick_building")
def test_shares_of_a_batch_are_single_runs(way: str) -> None:
    space, rng = space_of(way), random.Random(1)
    chosen = [space.sample(rng), space.largest(), space.largest(), space.smallest()]
    network = perturbed(SuperTransformer(space, num_classes=3)).double().eval()
    x = torch.randn(8, 3, 80, 80, dtype=torch.float64)
    together = network(x, chosen).split(2)
    for part, architecture, own in zip(x.split(2), chosen, together, strict=True):
        torch.testing.assert_close(own, network(part, architecture), rtol=0, atol=1e-12)
