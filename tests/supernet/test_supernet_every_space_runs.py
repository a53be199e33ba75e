"""Networks of every small space in half precision, recomputing, and through a model folder."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from tests.every_space import SMALL, perturbed, space_named

from vitsearch import SuperTransformer, load_model, save_model


@pytest.fixture(params=SMALL)
def network(request):
    torch.manual_seed(0)
    return perturbed(SuperTransformer(space_named(request.param), 5, sharing="cyclic")).eval()


def gradients(network, x, architecture):
    torch.manual_seed(1)
    network.zero_grad()
    network(x, architecture).square().sum().backward()
    return [p.grad for p in network.parameters()]


def test_half_precision_and_autocast(network, images):
    x, architecture = images(network, 3), network.space.sample(random.Random(0))
    expected = network(x, architecture)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(x, architecture)
    mixed.float().square().sum().backward()
    half = copy.deepcopy(network).to(torch.bfloat16)
    logits = half(x.bfloat16(), architecture)
    logits.square().sum().backward()
    for found in (mixed, logits):
        assert found.dtype == torch.bfloat16
        assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()
    for parameter in (*network.parameters(), *half.parameters()):
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_recomputing_changes_nothing(network, images):
    network = network.double().train()
    again = copy.deepcopy(network)
    again.set_grad_checkpointing()
    x, architecture = images(network, 3), network.space.sample(random.Random(1))
    pairs = zip(gradients(network, x, architecture), gradients(again, x, architecture), strict=True)
    for one, other in pairs:
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=0, atol=1e-12)


@torch.no_grad()
def test_model_folders(network, tmp_path, images):
    x, architecture = images(network), network.space.sample(random.Random(2))
    extracted = network.extract(architecture)
    loaded = load_model(save_model(extracted, tmp_path / "model"))
    assert loaded.architecture == architecture
    assert loaded.architecture.digest == architecture.digest
    assert loaded.space == network.space
    assert torch.equal(loaded(x), extracted(x))


def test_tokens_positions_and_tables_do_not_decay(network):
    words = {"cls_token", "dist_token", "pos_embed", "relative_keys", "relative_values"}
    expected = {n for n, _ in network.named_parameters() if words & set(n.split("."))}
    assert network.no_weight_decay() == expected
    transitions = sum(len(list(s.transition.pos_embed)) for s in network.stages if s.transition)
    assert sum(".transition.pos_embed." in name for name in expected) == transitions
