"""One batch for several architectures."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from vitsearch import Architecture, SuperTransformer, build_space
from vitsearch.errors import ConfigError, SpaceError


def drawn(network, count, seed=0):
    rng = random.Random(seed)
    return [network.space.sample(rng) for _ in range(count)]


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["glit", "grid", "widths and patches", "stages", "attention"])
def test_mixed_batch_equals_single_runs_in_order(name, count, supernet, images):
    network = supernet(name)
    architectures = drawn(network, count)
    x = images(network, 8)
    expected = [network(s, a) for s, a in zip(x.chunk(count), architectures, strict=True)]
    found = network(x, architectures)
    assert found.shape == (8, 5)
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_same_architecture_twice_is_one_run(supernet, images):
    network = supernet("glit")
    (architecture,) = drawn(network, 1)
    x = images(network, 4)
    found = network(x, [architecture, architecture])
    torch.testing.assert_close(found, network(x, architecture), rtol=0, atol=1e-12)
    assert torch.equal(network(x, [architecture]), network(x, architecture))
    assert torch.equal(network(x, (architecture,)), network(x, architecture))


@torch.no_grad()
def test_each_share_has_its_own_statistics(supernet, images):
    network = supernet("glit")
    architectures = drawn(network, 2)
    given = [network.estimate_statistics(architectures[0], [images(network, 6, seed=1)]), None]
    x = images(network, 4)
    expected = [
        network(x[:2], architectures[0], statistics=given[:1]),
        network(x[2:], architectures[1]),
    ]
    found = network(x, architectures, statistics=given)
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)
    assert not torch.allclose(found, network(x, architectures))


def gradients(network, *runs):
    """The sum of the gradients of several runs, by parameter."""
    network.zero_grad()
    for x, architectures in runs:
        network(x, architectures).square().sum().backward()
    return {n: None if p.grad is None else p.grad.clone() for n, p in network.named_parameters()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", ["glit", "grid"])
def test_gradient_is_the_sum_of_the_single_gradients(name, count, training, supernet, images):
    # In training each share is normalised by itself, as in runs of their own.
    network = copy.deepcopy(supernet(name)).train(training)
    architectures = drawn(network, count, seed=1)
    x = images(network, 8)
    together = gradients(network, (x, architectures))
    apart = gradients(network, *zip(x.chunk(count), architectures, strict=True))
    assert any(g is not None for g in together.values())
    for name, grad in together.items():
        if grad is None:
            assert apart[name] is None, name
        else:
            torch.testing.assert_close(grad, apart[name], rtol=1e-9, atol=1e-10)


def test_weights_that_no_architecture_uses_get_no_gradient(supernet, images):
    network = copy.deepcopy(supernet("small"))
    fully_global = network.space.restrict({"*.global_heads": 3}).smallest()
    found = gradients(network, (images(network), fully_global))
    for name, grad in found.items():
        assert (grad is None) == (".local." in name), name


def test_training_updates_the_running_statistics_once_a_share(supernet, images):
    together, apart = (copy.deepcopy(supernet("glit")).train() for _ in range(2))
    architectures = drawn(together, 2, seed=4)
    x = images(together, 4)
    together(x, architectures)
    for share, architecture in zip(x.chunk(2), architectures, strict=True):
        apart(share, architecture)
    for name, tensor in together.state_dict().items():
        torch.testing.assert_close(tensor, apart.state_dict()[name], rtol=0, atol=1e-12)
    before = supernet("glit").state_dict()
    changed = [n for n, t in together.state_dict().items() if not torch.equal(t, before[n])]
    assert changed
    assert all("running_" in name for name in changed)


@torch.no_grad()
def test_default_is_the_largest(supernet, images):
    network = supernet("small")
    x = images(network)
    assert network.largest == network.space.largest()
    assert torch.equal(network(x), network(x, network.space.largest()))
    assert torch.equal(network(x, None), network(x))


@pytest.mark.parametrize(("batch", "count"), [(5, 2), (8, 3), (2, 4)])
def test_batch_that_does_not_divide(batch, count, supernet, images):
    network = supernet("small")
    with pytest.raises(ConfigError, match=f"{batch} images .* {count} architectures") as info:
        network(images(network, batch), drawn(network, count))
    assert "\n" not in str(info.value)


def test_no_architecture(supernet, images):
    network = supernet("small")
    for none in ([], ()):
        with pytest.raises(ConfigError, match="no architecture"):
            network(images(network), none)


def test_illegal_architecture(supernet, images):
    network = supernet("small")
    values = {**network.space.largest(), "stages.0.blocks.1.mlp_ratio": 5}
    values["stages.0.blocks.1.global_heads"] = 3
    with pytest.raises(SpaceError, match=r"stages\.0\.blocks\.1\."):
        network(images(network), Architecture(values))
    with pytest.raises(SpaceError, match="no choice"):
        network(images(network), build_space("glit_tiny").largest())
    good = network.space.smallest()
    with pytest.raises(SpaceError, match=r"stages\.0\.blocks\.1\."):
        network(images(network), [good, Architecture(values)])


@torch.no_grad()
def test_no_call_leaves_a_trace(supernet, images):
    network = copy.deepcopy(supernet("glit"))
    assert network.largest
    x = images(network, 4)
    architectures = drawn(network, 6)
    held = {name: set(vars(module)) for name, module in network.named_modules()}
    before = {k: v.clone() for k, v in network.state_dict().items()}
    first = [network(x, architecture) for architecture in architectures]
    network(x, architectures[:4])
    again = [network(x, architecture) for architecture in architectures]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert {name: set(vars(module)) for name, module in network.named_modules()} == held


def test_drop_path_in_training(images):
    space = build_space("glit", num_blocks=4)
    torch.manual_seed(0)
    network = SuperTransformer(space, num_classes=5, drop_path_rate=0.6)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in network.stages[0].blocks]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6])
    x = images(space, 6)
    architecture = space.restrict({"*.global_heads": 3}).largest()  # without BatchNorm
    with torch.no_grad():
        network.train()
        assert not torch.equal(network(x, architecture), network(x, architecture))
        network.eval()
        assert torch.equal(network(x, architecture), network(x, architecture))
    network.train()
    network(x, [architecture, space.smallest()]).sum().backward()
    assert network.head.weight.grad.isfinite().all()
