"""Small networks of timm's `eva.py` and `beit.py`, and the properties that all of them share."""

from __future__ import annotations

import random
from typing import Any

import timm
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import vitsearch
from vitsearch.elastic import rewire
from vitsearch.supernet.converting.reading import read_network
from vitsearch.supernet.converting.weights import state_from_timm, state_to_timm

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}


def create(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """A network of 3 x 3 patches with noise on everything that begins as zeros or ones."""
    options = {"img_size": 42 if "patch14" in name else 48, **SMALL, **options}
    return noisy(timm.create_model(name, **options).to(dtype).eval())


@torch.no_grad()
def noisy(network: Any) -> Any:
    """With random numbers added to all parameters."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        small = parameter.dim() > 1 and "token" not in name and "table" not in name
        parameter.add_(torch.randn_like(parameter) * (0.02 if small else 0.3))
    return network


def images(network: Any, count: int = 2) -> Tensor:
    """Random images for a network of timm."""
    reference = next(network.parameters())
    side = network.patch_embed.img_size[0]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, side, side, generator=generator, dtype=reference.dtype)


def assert_largest_is_the_original(network: Any) -> None:
    """Equal logits, tokens and numbers of parameters."""
    supernet = vitsearch.from_timm(network)
    taken, x = supernet.extract(supernet.largest), images(network)
    with torch.no_grad():
        logits, tokens = network(x), network.forward_features(x)
        assert logits.abs().max() > 1e-3
        assert (supernet(x) - logits).abs().max() < 1e-10
        assert (taken(x) - logits).abs().max() < 1e-10
        assert taken.forward_features(x).shape == tokens.shape
        assert (taken.forward_features(x) - tokens).abs().max() < 1e-10
    count = sum(parameter.numel() for parameter in network.parameters())
    assert supernet.cost(supernet.largest).params == count


def assert_architectures_are_parts(network: Any, count: int = 4) -> None:
    """Extracted = supernet, mixed batch = single runs, closed form = measured."""
    supernet = vitsearch.from_timm(network)
    rng, x = random.Random(0), images(network, count)
    architectures = [supernet.space.sample(rng) for _ in range(count)]
    assert len(set(architectures)) == count
    with torch.no_grad():
        together = supernet(x, architectures)
        for index, architecture in enumerate(architectures):
            taken = supernet.extract(architecture).requires_grad_(False)
            with FlopCounterMode(display=False) as counter:
                logits = taken(x[index : index + 1])
            assert (supernet(x[index : index + 1], architecture) - logits).abs().max() < 1e-12
            assert (together[index : index + 1] - logits).abs().max() < 1e-12
            cost = supernet.cost(architecture)
            assert counter.get_total_flops() == 2 * cost.macs
            assert sum(parameter.numel() for parameter in taken.parameters()) == cost.params


def assert_all_weights_learn(network: Any) -> None:
    """A gradient for every parameter, and those of timm's network."""
    supernet, x = vitsearch.from_timm(network), images(network)
    supernet(x).square().sum().backward()
    network(x).square().sum().backward()
    reading = read_network(network, "network")
    theirs = {name: parameter.grad for name, parameter in network.named_parameters()}
    wanted = state_from_timm(theirs, reading)
    for name, parameter in supernet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert torch.allclose(parameter.grad, wanted[name], rtol=1e-5, atol=1e-8), name


def assert_weights_go_back(network: Any) -> None:
    """Every tensor under timm's names again, also after the heads traded places."""
    reading = read_network(network, "network")
    state = network.state_dict()
    back = state_to_timm(state_from_timm(state, reading), reading)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    supernet, x = vitsearch.from_timm(network), images(network)
    assert rewire(supernet)
    moved = state_to_timm(supernet.state_dict(), reading)
    assert any(not torch.equal(moved[name], tensor) for name, tensor in state.items())
    with torch.no_grad():
        logits = network(x)
        assert (supernet(x) - logits).abs().max() < 1e-10
        network.load_state_dict(moved)
        assert (network(x) - logits).abs().max() < 1e-10
