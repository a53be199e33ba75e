"""Random sub-networks of converted networks: taken out, counted, given to timm, trained, saved."""

from __future__ import annotations

import pytest
import timm
import torch
from timm_networks import VARIATIONS, drawn, num_parameters, pictures, variation
from torch.utils.flop_counter import FlopCounterMode

import vitsearch

COUNT = 50
OPTIONS = {"qk_dim": [0.25, 0.5, 1], "v_dim": [0.25, 0.5, 1]}


def macs(network, images):
    """As they are counted while it runs."""
    network.requires_grad_(False)  # fused layers without gradients are counted, too
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("key", VARIATIONS)
@pytest.mark.usefixtures("quick_building")
def test_random_architectures(key):
    supernet = vitsearch.from_timm(variation(key), options=OPTIONS)
    assert all(parameter.any() for parameter in supernet.parameters())
    x = pictures(supernet)
    for number, architecture in enumerate(drawn(supernet.space, COUNT)):
        network = supernet.extract(architecture)
        cost = network.cost()
        assert num_parameters(network) == cost.params
        with torch.no_grad():
            logits = network(x)
            assert (logits - supernet(x, architecture)).abs().max() < 1e-12
            if number % 3 == 0:
                assert (network.to_timm()(x) - logits).abs().max() < 1e-10
        if number % 10 == 0:
            assert macs(network, x[:1]) == cost.macs


@pytest.mark.parametrize("key", VARIATIONS)
def test_one_of_them_trains_and_is_saved(key, tmp_path):
    supernet = vitsearch.from_timm(variation(key, torch.float32))
    architecture = drawn(supernet.space, 3)[-1]
    network = supernet.extract(architecture)
    x = pictures(network)
    before = network(x)
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 2])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    optimizer.step()
    after = network.eval()(x)
    assert not torch.equal(after, before)

    loaded = vitsearch.load_model(vitsearch.save_model(network, tmp_path / "model"))
    assert torch.equal(loaded(x), after)
    assert loaded.architecture == architecture
    folder = vitsearch.save_pretrained(network, tmp_path / "pretrained")
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(by_timm(x), after)
    folder = vitsearch.save_timm(network, tmp_path / "timm")
    own = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert type(own).__module__.startswith("timm.models.")
    assert (own(x) - after).abs().max() < 1e-5


@pytest.mark.parametrize("key", VARIATIONS)
def test_what_timm_gets_can_be_converted_again(key):
    supernet = vitsearch.from_timm(variation(key))
    x = pictures(supernet)
    for architecture in drawn(supernet.space, 5, seed=1):
        network = supernet.extract(architecture)
        blocks = [node.plan for node in network.plan.nodes if node.slot is not None]
        if not any(block.mixer.inner for block in blocks):
            continue
        if not any(block.mlp.inner for block in blocks):
            continue
        again = vitsearch.from_timm(network.to_timm())
        assert (again(x) - network(x)).abs().max() < 1e-10
        for other in drawn(again.space, 3):  # absent branches stay absent
            with torch.no_grad():
                assert (again.extract(other)(x) - again(x, other)).abs().max() < 1e-12
