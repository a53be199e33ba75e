"""Tokens behind single blocks, of sub-networks of a supernet and of networks taken out."""

from __future__ import annotations

import random

import pytest
import timm
import torch

from vitsearch import build_space
from vitsearch.errors import ConfigError
from vitsearch.supernet import SuperTransformer


@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas"])
def test_they_are_those_of_the_network_taken_out(name: str):
    space = build_space(name)
    net = SuperTransformer(space, 10).double().eval()
    generator = torch.Generator().manual_seed(0)
    size = (4, space.in_chans, space.image_size, space.image_size)
    images = torch.randn(size, generator=generator, dtype=torch.float64)
    rng = random.Random(1)
    architectures = [space.sample(rng), space.largest()]
    both = net.forward_heads(images, architectures, layers=(-1, 0))
    for share, architecture, heads in zip(images.chunk(2), architectures, both, strict=True):
        network = net.extract(architecture)
        alone = network.forward_heads(share, layers=(-1, 0))
        for own, other in zip(heads.tokens, alone.tokens, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)
        read = network.forward_features(share)
        torch.testing.assert_close(alone.tokens[0], read, rtol=1e-12, atol=1e-12)
        assert torch.equal(alone.logits, network.forward_heads(share).logits)


def test_blocks_that_are_not_there():
    net = SuperTransformer(build_space("glit", num_blocks=2), 10)
    with pytest.raises(ConfigError, match=r"layers=\[0, 2\].* 2 blocks.*2 is none"):
        net.forward_heads(torch.zeros(1, 1, 28, 28), layers=(0, 2))
    both_ways = SuperTransformer(build_space("glit"), 10, sharing="bilateral")
    with pytest.raises(ConfigError, match="sharing=bilateral"):
        both_ways.forward_heads(torch.zeros(1, 1, 28, 28), layers=(-1,))


@pytest.mark.parametrize("name", ["glit", "vit_resnas"])
def test_layers_of_a_supernet_learn_the_slower_the_earlier(name: str):
    net = SuperTransformer(build_space(name), 10)
    groups = timm.optim.create_optimizer_v2(net, opt="adamw", lr=1.0, layer_decay=0.5).param_groups
    rates = {id(parameter): g["lr_scale"] for g in groups for parameter in g["params"]}
    own = {n: rates[id(parameter)] for n, parameter in net.named_parameters()}
    blocks = sorted({n.partition(".blocks.")[0::2] for n in own if ".blocks." in n})
    last = own["norm.weight"]
    assert own["head.weight"] == 1.0
    assert last == 0.5
    assert max(rate for n, rate in own.items() if n.startswith("stem")) == min(own.values())
    assert len(set(own.values())) >= len({path + rest.partition(".")[0] for path, rest in blocks})
