"""A step of several architectures trains as their own networks would, whatever drew them."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.every_space import DRAWING, SMALL, perturbed, space_named

from vitsearch import SuperTransformer
from vitsearch.samplers import (
    BalancedSampler,
    BucketSampler,
    IdentitySampler,
    SandwichSampler,
    UniformSampler,
)
from vitsearch.samplers.warm_up import warm_up_space
from vitsearch.supernet.super_transformer import ALIGNMENTS

COUNT = 4
RULES = {
    "single path": (UniformSampler(), 1),
    "uniform": (UniformSampler(), COUNT),
    "balanced": (BalancedSampler(), COUNT),
    "sandwich": (SandwichSampler(), COUNT),
    "buckets": (BucketSampler(num_buckets=COUNT), COUNT),
    "identities": (IdentitySampler(identity_probability=0.5), COUNT),
}
pytestmark = pytest.mark.usefixtures("quick_building")


def make_supernet(name: str, sharing: str) -> SuperTransformer:
    torch.manual_seed(0)
    return perturbed(SuperTransformer(space_named(name), 5, sharing=sharing)).double().train()


def by_their_own_networks(network, x, architectures):
    """The sum of the gradients of networks taken out, put where their weights come from.

    Each weight of such a network is a weight of the supernet, so that is the chain rule.
    """
    places = []
    for share, architecture in zip(x.chunk(len(architectures)), architectures, strict=True):
        ways = ALIGNMENTS[network.sharing]
        alone = [network.extract(architecture, alignment=way).train() for way in ways]
        sum(each(share) for each in alone).square().sum().backward()
        for way, each in zip(ways, alone, strict=True):
            own = network.active_state(network.space.plan(architecture), way)
            places += [(own[n] * p.grad).sum() for n, p in each.named_parameters()]
    network.zero_grad()
    torch.stack(places).sum().backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def check(network, x, architectures):
    network(x, architectures).square().sum().backward()
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    expected = by_their_own_networks(network, x, architectures)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in DRAWING])
def test_of_every_space(name, images):
    network = make_supernet(name, "prefix")
    chosen = SandwichSampler(seed=1).sample(network.space, num_architectures=COUNT, step=0)
    check(network, images(network, 2 * COUNT), chosen)


@pytest.mark.parametrize("sharing", ["prefix", "bilateral", "cyclic"])
@pytest.mark.parametrize("rule", RULES)
def test_of_every_rule(rule, sharing, images):
    sampler, count = RULES[rule]
    network = make_supernet("vitas", sharing)
    check(
        network,
        images(network, 2 * count),
        sampler.sample(network.space, num_architectures=count, step=3),
    )


def test_while_widths_warm_up(images):
    network = make_supernet("vit_resnas", "prefix")
    part = warm_up_space(network.space, 1, 3)
    assert part.size() < network.space.size()
    chosen = BalancedSampler().sample(part, num_architectures=COUNT, step=0)
    check(network, images(network, 2 * COUNT), chosen)


@pytest.mark.parametrize("sharing", ["bilateral", "cyclic"])
def test_with_batch_norm(sharing, images):
    network = make_supernet("glit", sharing)
    x = images(network, 2 * COUNT)
    for seed in range(3):
        chosen = SandwichSampler(seed=seed).sample(network.space, num_architectures=COUNT, step=0)
        network.zero_grad()
        apart = copy.deepcopy(network)
        check(network, x, chosen)
        for share, architecture in zip(x.chunk(COUNT), chosen, strict=True):
            apart(share, architecture)
        for name, buffer in network.named_buffers():
            assert torch.equal(buffer, apart.get_buffer(name)), name
