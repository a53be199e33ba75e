"""An extracted network computes what the supernet computes for its architecture."""

from __future__ import annotations

import random

import pytest
import torch

import vitsearch
from vitsearch import Architecture, VisionTransformer
from vitsearch.errors import SpaceError


def check(network, architecture, images, atol):
    """With the supernet's running statistics, and with the architecture's own."""
    x = images(network)
    expected = network(x, architecture)
    extracted = network.extract(architecture)
    assert not extracted.training
    torch.testing.assert_close(extracted(x), expected, rtol=0, atol=atol)
    if not network.has_batch_norm:
        return
    statistics = network.estimate_statistics(
        architecture, [images(network, 3, seed=1), images(network, 1, seed=2)]
    )
    own = network(x, architecture, statistics=[statistics])
    extracted = network.extract(architecture, statistics=statistics)
    torch.testing.assert_close(extracted(x), own, rtol=0, atol=atol)
    assert bool(statistics) == bool((own - expected).abs().max() > 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["glit", "grid"])
def test_equals_the_supernet_with_its_own_statistics(name, supernet, images):
    network, rng = supernet(name), random.Random(0)
    for architecture in [network.space.smallest(), *(network.space.sample(rng) for _ in range(7))]:
        check(network, architecture, images, atol=1e-12)


@torch.no_grad()
@pytest.mark.usefixtures("quick_building")
@pytest.mark.parametrize("name", ["glit", "grid", "tiny", "widths and patches"])
def test_equals_the_supernet_in_single_precision(name, supernet, images):
    network, rng = supernet(name, dtype=torch.float32), random.Random(1)
    for _ in range(10):
        check(network, network.space.sample(rng), images, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_equals_the_supernet_at_full_size(images):
    space, published = vitsearch.published("glit_tiny")
    torch.manual_seed(0)
    network = vitsearch.SuperTransformer(space, num_classes=1000).eval()
    x = images(space, 1)
    for architecture in (published, space.largest(), space.sample(random.Random(0))):
        extracted = network.extract(architecture)
        torch.testing.assert_close(extracted(x), network(x, architecture), rtol=0, atol=1e-5)
        assert extracted.cost() == vitsearch.cost(space, architecture)


@torch.no_grad()
def test_extracted_network_is_the_network_of_that_architecture(supernet, images):
    network = supernet("glit")
    architecture = network.space.sample(random.Random(0))
    extracted = network.extract(architecture)
    assert type(extracted) is VisionTransformer
    assert extracted.architecture == architecture
    assert extracted.space == network.space
    fresh = VisionTransformer(network.space, architecture, num_classes=5)
    assert {k: v.shape for k, v in extracted.state_dict().items()} == {
        k: v.shape for k, v in fresh.state_dict().items()
    }
    fresh.double().load_state_dict(extracted.state_dict())
    x = images(network)
    assert torch.equal(fresh.eval()(x), extracted(x))


def test_no_weight_is_larger_than_its_architecture_needs(supernet):
    network, rng = supernet("glit"), random.Random(0)
    for _ in range(10):
        extracted = network.extract(network.space.sample(rng))
        assert sum(p.numel() for p in extracted.parameters()) == extracted.cost().params


@torch.no_grad()
def test_extracted_weights_are_copies(images):
    space = vitsearch.build_space("glit", num_blocks=2)
    network = vitsearch.SuperTransformer(space, num_classes=5).eval()
    for architecture in (space.largest(), space.smallest(), space.sample(random.Random(0))):
        x = images(space)
        supernet_before, state = network(x), {k: v.clone() for k, v in network.state_dict().items()}
        extracted = network.extract(architecture)
        extracted_before = extracted(x)
        own = {t.untyped_storage().data_ptr() for t in network.state_dict().values()}
        assert not own & {t.untyped_storage().data_ptr() for t in extracted.state_dict().values()}
        for tensor in extracted.state_dict().values():
            tensor.add_(1)
        assert torch.equal(network(x), supernet_before)
        extracted = network.extract(architecture)
        for tensor in network.state_dict().values():
            tensor.add_(1)
        assert torch.equal(extracted(x), extracted_before)
        network.load_state_dict(state)


@torch.no_grad()
def test_extracting_again_is_the_same(supernet, images):
    network = supernet("small")
    architecture = network.space.largest()
    x = images(network)
    assert torch.equal(network.extract(architecture)(x), network.extract(architecture)(x))


def test_extracting_while_training_leaves_the_mode_alone():
    space = vitsearch.build_space("glit", num_blocks=1)
    network = vitsearch.SuperTransformer(space, num_classes=5).train()
    assert not network.extract(space.largest()).training
    assert network.training
    assert all(p.requires_grad for p in network.extract(space.largest()).parameters())


def test_extracted_network_keeps_type_and_place(supernet):
    for dtype in (torch.float64, torch.float32):
        extracted = supernet("small", dtype=dtype).extract(supernet("small").space.largest())
        assert {t.dtype for t in extracted.state_dict().values()} == {dtype}


@torch.no_grad()
def test_extracted_weights_train_further(supernet, images):
    network = supernet("small")
    extracted = network.extract(network.space.largest()).train()
    with torch.enable_grad():
        extracted(images(network, 4)).square().sum().backward()
    assert all(p.grad is not None for p in extracted.parameters())
    assert all(p.grad is None for p in network.parameters())


def test_restricted_supernet_knows_only_its_part():
    space = vitsearch.build_space("glit", num_blocks=1)
    part = space.restrict({"*.global_heads": [0, 1], "*.kernel_size": 15})
    network = vitsearch.SuperTransformer(part, num_classes=5)
    block = network.stages[0].blocks[0]
    assert block.mixer.attn.qkv.in_features == 16
    assert block.mixer.local.conv.weight.shape[-1] == 15
    network.extract(part.largest())
    fully_global = space.restrict({"*.global_heads": 3}).largest()
    with pytest.raises(SpaceError, match="global_heads=3"):
        network.extract(fully_global)


def test_illegal_architecture(supernet):
    network = supernet("small")
    with pytest.raises(SpaceError, match="is missing"):
        network.extract(Architecture({}))
    wrong = {**network.space.largest(), "stages.0.blocks.0.global_heads": 7}
    with pytest.raises(SpaceError, match="global_heads=7"):
        network.extract(Architecture(wrong))
