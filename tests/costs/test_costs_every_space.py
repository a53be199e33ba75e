"""Closed-form costs in every space, at full size; `tests/supernet` measures many more networks."""

from __future__ import annotations

import random

import pytest
import torch
from tests.every_space import EVERY, drawn, space_named
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import VisionTransformer
from vitsearch.costs import Constraint, CostModel, cost_table
from vitsearch.samplers import sample_within


@pytest.mark.parametrize("num_classes", [0, 1000])
@pytest.mark.parametrize("name", EVERY)
def test_tables_equal_plans(name: str, num_classes: int) -> None:
    space = space_named(name)
    chosen = drawn(space, 100)
    expected = [space.plan(architecture).cost(num_classes) for architecture in chosen]
    table = cost_table(space, chosen, num_classes)
    assert table["macs"].tolist() == [cost.macs for cost in expected]
    assert table["params"].tolist() == [cost.params for cost in expected]
    model = CostModel(space, num_classes)
    for architecture, cost in zip(reversed(chosen), reversed(expected), strict=True):
        assert model.cost(architecture) == cost
        assert model.cost(architecture) == cost  # from its tables


@torch.no_grad()
@pytest.mark.parametrize("name", EVERY)
def test_networks_of_full_size_cost_what_was_foretold(name: str) -> None:
    space = space_named(name)
    images = torch.zeros(1, *space.input_shape, device="meta")
    for architecture in drawn(space, 1):
        with torch.device("meta"):
            network = VisionTransformer(space, architecture).eval()
        with FlopCounterMode(display=False) as counter:
            network(images)
        assert counter.get_total_flops() == 2 * network.cost().macs
        assert sum(p.numel() for p in network.parameters()) == network.cost().params


@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("name", EVERY)
def test_budgets_are_met(name: str, metric: str) -> None:
    space = space_named(name)
    ends = [
        getattr(space.plan(space.extreme(metric, largest=largest)[0]).cost(), metric)
        for largest in (False, True)
    ]
    middle = sum(ends) / 2
    budget = Constraint(**{metric: (0.95 * middle, 1.05 * middle)})
    found = sample_within(space, budget, 5, random.Random(0))
    assert len(set(found)) == 5
    for architecture in found:
        assert budget.holds(space.plan(architecture).cost())
