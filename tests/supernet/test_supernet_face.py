"""What readers of timm expect of a model."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

import vitsearch
from vitsearch import SuperTransformer, VisionTransformer
from vitsearch.errors import ConfigError, SpaceError


@pytest.fixture(params=["glit", "avg", "widths and patches"])
def network(request, supernet):
    net = supernet(request.param, dtype=torch.float32)
    return net.extract(net.space.sample(random.Random(2)))


@torch.no_grad()
def test_shapes(network, images):
    x = images(network, 3)
    plan = network.plan
    tokens = 1 + plan.stages[0].grid[0] * plan.stages[0].grid[1]
    features = network.forward_features(x)
    assert features.shape == (3, tokens, network.embed_dim)
    assert network.forward_head(features).shape == (3, 5)
    assert network.forward_head(features, pre_logits=True).shape == (3, network.embed_dim)
    assert torch.equal(network.forward_head(features), network(x))
    assert network.num_features == network.embed_dim == plan.head.embed_dim


@torch.no_grad()
def test_pooling(network, images):
    features = network.forward_features(images(network, 3))
    pooled = network.forward_head(features, pre_logits=True)
    assert network.global_pool == network.space.head.pool
    if network.global_pool == "avg":
        torch.testing.assert_close(pooled, features[:, 1:].mean(1))
    else:
        assert torch.equal(pooled, features[:, 0])
    expected = pooled @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network.forward_head(features), expected)


@torch.no_grad()
def test_no_classifier(supernet, images):
    network = supernet("small", num_classes=0)
    x = images(network, 3)
    assert network.head is None
    assert network(x).shape == (3, 48)
    extracted = network.extract(network.space.smallest())
    assert extracted.num_classes == 0
    assert isinstance(extracted.get_classifier(), nn.Identity)
    expected = extracted.forward_head(extracted.forward_features(x), pre_logits=True)
    assert torch.equal(extracted(x), expected)
    assert not any(name.startswith("head") for name in extracted.state_dict())
    assert sum(p.numel() for p in extracted.parameters()) == extracted.cost().params


@torch.no_grad()
def test_reset_classifier(network, images):
    network = copy.deepcopy(network)
    x = images(network, 3)
    features = network.forward_head(network.forward_features(x), pre_logits=True)
    network.reset_classifier(7)
    assert network(x).shape == (3, 7)
    assert network.num_classes == 7
    assert network.get_classifier() is network.head
    assert sum(p.numel() for p in network.parameters()) == network.cost().params
    network.reset_classifier(0)
    assert network.head is None
    assert torch.equal(network(x), features)
    assert sum(p.numel() for p in network.parameters()) == network.cost().params
    network.double().reset_classifier(2)
    assert network(x.double()).dtype == torch.float64


def test_reset_classifier_to_a_negative_number(supernet):
    network = supernet("small").extract(supernet("small").space.smallest())
    with pytest.raises(ConfigError, match="num_classes=-1"):
        network.reset_classifier(-1)


@pytest.mark.parametrize("kind", ["supernet", "extracted"])
def test_no_weight_decay_names_parameters(kind, supernet):
    network = supernet("widths and patches")
    if kind == "extracted":
        network = network.extract(network.space.smallest())
    parameters = dict(network.named_parameters())
    skipped = network.no_weight_decay()
    assert skipped <= set(parameters)
    patches = 2 if kind == "supernet" else 1
    assert sorted(name.rsplit(".", 1)[1] for name in skipped) == sorted(
        ["cls_token", "pos_embed"] * patches
    )


def test_optimisers_of_timm_take_it(supernet):
    network = copy.deepcopy(supernet("small"))
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    names = {id(p): name for name, p in network.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            decays = parameter.dim() > 1 and names[id(parameter)] not in network.no_weight_decay()
            assert (group["weight_decay"] > 0) == decays


@pytest.mark.parametrize("kind", ["supernet", "extracted"])
def test_checkpointing_gives_the_same_gradients(kind, supernet, images):
    whole = copy.deepcopy(supernet("glit"))
    rng = random.Random(0)
    architectures = [whole.space.sample(rng) for _ in range(2)]
    x = images(whole, 4)
    found = []
    for enabled in (False, True):
        network = copy.deepcopy(whole).train()
        arguments = (x, architectures)
        if kind == "extracted":
            network, arguments = network.extract(architectures[0]).train(), (x,)
        network.set_grad_checkpointing(enabled)
        assert network.grad_checkpointing is enabled
        network(*arguments).square().sum().backward()
        found.append({n: p.grad for n, p in network.named_parameters()})
    for name, grad in found[0].items():
        if grad is None:
            assert found[1][name] is None
        else:
            torch.testing.assert_close(found[1][name], grad, rtol=0, atol=1e-12)
    assert not vitsearch.create_model("glit_tiny").grad_checkpointing


def test_checkpointing_gives_the_same_running_statistics(supernet, images):
    found = []
    for enabled in (False, True):
        network = copy.deepcopy(supernet("small")).train()
        network.set_grad_checkpointing(enabled)
        local = network.space.restrict({"*.global_heads": 0}).smallest()
        network(images(network, 4), local).square().sum().backward()
        found.append(network.state_dict())
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=0, atol=1e-12)


@torch.no_grad()
def test_checkpointing_without_gradients(supernet, images):
    network = copy.deepcopy(supernet("small"))
    expected = network(images(network))
    network.set_grad_checkpointing()
    assert torch.equal(network(images(network)), expected)


def test_numbers_out_of_range():
    space = vitsearch.build_space("glit", num_blocks=1)
    for make in (
        lambda **options: SuperTransformer(space, **options),
        lambda **options: VisionTransformer(space, space.largest(), **options),
    ):
        with pytest.raises(ConfigError, match="num_classes=-1"):
            make(num_classes=-1)
        for rate in (-0.1, 1.0):
            with pytest.raises(ConfigError, match=f"drop_path_rate={rate}"):
                make(num_classes=5, drop_path_rate=rate)
    with pytest.raises(SpaceError):
        VisionTransformer(space, vitsearch.build_space("glit").largest())
    with pytest.raises(SpaceError, match="glit_tiny"):
        vitsearch.create_model("glit_giant")


def test_fresh_weights_depend_on_torchs_seed_alone():
    space = vitsearch.build_space("glit", num_blocks=1)
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(SuperTransformer(space, num_classes=5).state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_fresh_networks_predict_moderately(images):
    torch.manual_seed(0)
    network = SuperTransformer(vitsearch.build_space("glit"), num_classes=10)
    logits = network.train()(images(network.space, 16))
    assert logits.isfinite().all()
    assert logits.abs().max() < 10


def test_learns(images):
    torch.manual_seed(0)
    space = vitsearch.build_space("glit", num_blocks=1)
    network = SuperTransformer(space, num_classes=4).train()
    x, labels = images(space, 16), torch.arange(16) % 4
    architectures = [space.largest(), space.smallest()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(network(x, architectures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
