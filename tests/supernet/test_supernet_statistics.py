from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn

from vitsearch import SuperTransformer, build_space
from vitsearch.elastic import ElasticBatchNorm


def local_architecture(network, seed=0):
    """One with BatchNorm in every block."""
    part = network.space.restrict({"*.global_heads": [0, 1, 2]})
    return part.sample(random.Random(seed))


@pytest.mark.parametrize("name", ["glit", "grid", "tiny"])
def test_first_layers_statistics_are_those_of_a_plain_layer(name, supernet, images):
    # Later layers see activations normalised batch by batch; the first sees the same either way.
    network = supernet(name)
    architecture = local_architecture(network)
    batches = [images(network, count, seed=count) for count in (3, 1, 4)]
    found = network.estimate_statistics(architecture, batches)
    extracted = network.extract(architecture)
    first = next(m for m in extracted.modules() if isinstance(m, ElasticBatchNorm))
    first.momentum = 1.0
    first.train()
    with torch.no_grad():
        extracted(torch.cat(batches))
    mean, var = found[first.path]
    torch.testing.assert_close(mean, first.running_mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(var, first.running_var, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["glit", "grid"])
def test_one_batch_gives_every_layer_what_training_would(name, supernet, images):
    network = supernet(name)
    architecture = local_architecture(network, 1)
    x = images(network, 8)
    found = network.estimate_statistics(architecture, [x])
    extracted = network.extract(architecture).train()
    norms = [m for m in extracted.modules() if isinstance(m, ElasticBatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        extracted(x)
    assert set(found) == {norm.path for norm in norms}
    for norm in norms:
        mean, var = found[norm.path]
        torch.testing.assert_close(mean, norm.running_mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(var, norm.running_var, rtol=0, atol=1e-12)
    restored = network.extract(architecture, statistics=found)
    torch.testing.assert_close(restored(x), extracted.eval()(x), rtol=0, atol=1e-12)


def test_normalised_networks_have_normalised_activations(supernet, images):
    network = supernet("glit")
    architecture = local_architecture(network)
    x = images(network, 32)
    network_own = network.extract(
        architecture, statistics=network.estimate_statistics(architecture, [x])
    )
    norm = next(m for m in network_own.modules() if isinstance(m, ElasticBatchNorm))
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    network_own(x)
    by_channel = ((seen[0].transpose(0, 1).flatten(1).mT - norm.bias) / norm.weight).mT
    torch.testing.assert_close(by_channel.mean(1), torch.zeros(len(norm.bias)).double())
    torch.testing.assert_close(
        by_channel.var(1), torch.ones(len(norm.bias)).double(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("training", [True, False])
def test_supernet_is_left_alone(training, supernet, images):
    network = copy.deepcopy(supernet("glit")).train(training)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    statistics = network.estimate_statistics(local_architecture(network), [images(network, 4)])
    assert network.training is training
    assert all(module.training is training for module in network.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    own = {t.data_ptr() for t in network.state_dict().values()}
    for mean, var in statistics.values():
        assert not {mean.data_ptr(), var.data_ptr()} & own
        assert not mean.requires_grad
        assert not var.requires_grad


def test_mode_comes_back_when_images_run_out(supernet, images):
    network = copy.deepcopy(supernet("small")).train()

    def broken():
        yield images(network, 2)
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        network.estimate_statistics(local_architecture(network), broken())
    assert network.training


def test_drop_path_is_off_while_estimating(images):
    torch.manual_seed(0)
    space = build_space("glit", num_blocks=3)
    network = SuperTransformer(space, num_classes=5, drop_path_rate=0.9).train()
    architecture = local_architecture(network)
    one, other = (network.estimate_statistics(architecture, [images(space, 4)]) for _ in range(2))
    assert all(torch.equal(one[name][0], other[name][0]) for name in one)


def test_spaces_without_batch_norm_look_at_no_image():
    space = build_space("glit", num_blocks=1).restrict({"*.global_heads": 3})
    network = SuperTransformer(space, num_classes=5)
    assert not network.has_batch_norm

    def unwanted():
        raise AssertionError
        yield

    assert network.estimate_statistics(space.largest(), unwanted()) == {}


def test_architectures_without_batch_norm_have_no_statistics(supernet, images):
    network = supernet("small")
    fully_global = network.space.restrict({"*.global_heads": 3}).largest()
    assert network.has_batch_norm
    assert network.estimate_statistics(fully_global, [images(network)]) == {}
    assert network.extract(fully_global, statistics={}).plan


def test_statistics_are_named_by_layers_of_the_supernet(supernet, images):
    network = supernet("glit")
    architecture = local_architecture(network)
    statistics = network.estimate_statistics(architecture, [images(network)])
    for name, (mean, var) in statistics.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, ElasticBatchNorm)
        assert layer.path == name
        assert mean.shape == var.shape
        assert len(mean) <= len(layer.running_mean)
        assert (var > 0).all()
    assert len(statistics) == 6


def test_statistics_in_training_mode_do_not_matter(supernet, images):
    network = copy.deepcopy(supernet("small")).train()
    architecture = local_architecture(network)
    x = images(network, 4)
    statistics = network.estimate_statistics(architecture, [images(network, 4, seed=5)])
    with torch.no_grad():
        expected = copy.deepcopy(network)(x, architecture)
        assert torch.equal(network(x, architecture, statistics=[statistics]), expected)


def test_has_batch_norm_means_elastic_batch_norm(supernet):
    assert not any(isinstance(m, nn.BatchNorm1d) for m in supernet("glit").modules())
    assert supernet("glit").has_batch_norm
