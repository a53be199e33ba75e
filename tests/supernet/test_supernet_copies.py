"""Copies, other number types, export."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
import torch


def half_precision_architecture(network):
    """One without narrow local parts: those hang on some CPUs, see tests of the local module."""
    return network.space.restrict({"*.global_heads": [0, 3]}).sample(random.Random(0))


@torch.no_grad()
@pytest.mark.parametrize("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("kind", ["supernet", "extracted"])
def test_copies_are_independent_and_equal(kind, way, supernet, images):
    network = supernet("small")
    architecture = network.space.sample(random.Random(0))
    arguments = (images(network), architecture)
    if kind == "extracted":
        network, arguments = network.extract(architecture), arguments[:1]
    expected = network(*arguments)
    other = way(network)
    assert torch.equal(other(*arguments), expected)
    for tensor in other.state_dict().values():
        tensor.add_(1)
    assert torch.equal(network(*arguments), expected)


@torch.no_grad()
def test_half_precision(supernet, images):
    network = supernet("glit", dtype=torch.float32)
    architecture = half_precision_architecture(network)
    x = images(network)
    expected = network(x, architecture)
    half = copy.deepcopy(network).to(torch.bfloat16)
    for found in (
        half(x.bfloat16(), architecture),
        half.extract(architecture)(x.bfloat16()),
        network.extract(architecture).to(torch.bfloat16)(x.bfloat16()),
    ):
        assert found.dtype == torch.bfloat16
        scale = expected.abs().max()
        assert ((found.float() - expected).abs().max() / scale) < 0.1


@torch.no_grad()
def test_automatic_mixed_precision(supernet, images):
    network = supernet("glit", dtype=torch.float32)
    architecture = half_precision_architecture(network)
    x = images(network)
    expected = network(x, architecture)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x, architecture)
        statistics = network.estimate_statistics(architecture, [x])
    assert ((found.float() - expected).abs().max() / expected.abs().max()) < 0.1
    assert {t.dtype for pair in statistics.values() for t in pair} <= {torch.float32}


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["small", "grid"])
def test_extracted_network_exports(name, supernet, images):
    network = supernet(name, dtype=torch.float32)
    extracted = network.extract(network.space.sample(random.Random(0)))
    x = images(network, 3)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(extracted, (x,), dynamic_shapes=({0: batch},))
    for count in (2, 3, 8):
        y = images(network, count, seed=count)
        torch.testing.assert_close(program.module()(y), extracted(y), rtol=0, atol=1e-5)


@torch.no_grad()
def test_state_dict_round_trip(supernet, images):
    network = supernet("small")
    other = type(network)(network.space, num_classes=5).double().eval()
    assert other.load_state_dict(network.state_dict()) == torch.nn.modules.module._IncompatibleKeys(
        [], []
    )
    assert torch.equal(other(images(network)), network(images(network)))
