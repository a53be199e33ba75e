"""A network's own BatchNorm statistics, re-estimated by the rule of the supernet."""

from __future__ import annotations

import random

import pytest
import torch

import vitsearch


@pytest.mark.parametrize("name", ["glit", "vit_resnas", "autoformer"])
def test_equal_to_extraction_with_estimated_statistics(name: str) -> None:
    torch.manual_seed(0)
    space = vitsearch.build_space(name)
    supernet = vitsearch.SuperTransformer(space, num_classes=3).double()
    architecture = space.sample(random.Random(3))
    batches = [torch.randn(size, 1, 28, 28).double() for size in (7, 12, 2)]
    images = torch.randn(4, 1, 28, 28).double()
    statistics = supernet.estimate_statistics(architecture, batches)
    expected = supernet.extract(architecture, statistics=statistics)(images)
    network = supernet.extract(architecture).train()
    network.reestimate_statistics(batches)
    assert not network.training
    assert torch.equal(network(images), expected)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    network.reestimate_statistics(batches)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
