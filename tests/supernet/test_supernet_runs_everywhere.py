"""A network that was taken out of a supernet, wherever networks run."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
import torch
from tests.every_space import COMPOSED, SMALL, perturbed, space_named
from torch.utils.data import DataLoader, Dataset

from vitsearch import SearchSpace, SuperTransformer

FAMILIES = [name for name in SMALL if name not in COMPOSED]
SHALLOW = {  # for compilers, whose time grows with depth
    "glit": {"num_blocks": 1},
    "vitas": {"num_blocks": 1, "identity_probability": None},
    "vit_resnas": {"num_blocks": [1, 1, 1], "skippable": None},
    "autoformer": {"num_blocks": 1, "depths": [1]},
    "vt": {"num_blocks": [1, 1, 2], "depths": [[1], [1], [2]]},
    "hr_nas": {
        "body": {
            "kind": "high_resolution",
            "branches": [[12], [6, 12]],
            "blocks": [[1], [1, 1]],
            "widen": [12, 18],
            "features": 24,
            "joined": 18,
        },
    },
}


@pytest.fixture(scope="module", params=SMALL)
def network(request):
    return extracted(request.param)


def extracted(name, **changes):
    space = SearchSpace({**space_named(name).config, **changes})
    torch.manual_seed(0)
    return perturbed(SuperTransformer(space, 5)).extract(space.sample(random.Random(5)))


@torch.no_grad()
def test_copies_and_pickles(network, images):
    x = images(network)
    network.set_preprocessing({"mean": 0.25})
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(x), network(x))
        assert copied.pretrained_cfg == network.pretrained_cfg
        assert copied.default_cfg is copied.pretrained_cfg
        assert copied.architecture == network.architecture
        assert copied.space == network.space


@torch.no_grad()
def test_half_precision(network, images):
    x = images(network, 8)
    expected = network(x)
    half = copy.deepcopy(network).bfloat16()
    found = half(x.bfloat16())
    assert found.dtype == torch.bfloat16
    error = (found.float() - expected).square().mean().sqrt()
    assert error < 0.1 * expected.square().mean().sqrt()
    tokens, features = half.forward_intermediates(x.bfloat16())
    assert {feature.dtype for feature in (tokens, *features)} == {torch.bfloat16}


@torch.no_grad()
def test_channels_last(network, images):
    x = images(network, 3).expand(-1, network.in_chans, -1, -1)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    found = last(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-5)


def test_every_family_has_a_shallow_one():
    assert set(SHALLOW) == set(FAMILIES)


@pytest.mark.parametrize("name", SHALLOW)
@torch.no_grad()
def test_export_with_any_batch(name, images):
    network = extracted(name, **SHALLOW[name])
    batch = torch.export.Dim("batch")
    exported = torch.export.export(
        network, (images(network, 4),), dynamic_shapes={"images": {0: batch}}
    )
    assert not exported.graph_signature.buffers_to_mutate
    for count in (1, 4, 7):
        x = images(network, count, seed=count)
        torch.testing.assert_close(exported.module()(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHALLOW)
def test_compiles_whole(name, images):
    """One graph, forward and backward, in training and in evaluation."""
    # Tracing finds what breaks a graph; the kernels' layouts matter to tokens in BatchNorm alone.
    backend = "aot_eager" if name == "glit" else "eager"
    torch.compiler.reset()
    network = extracted(name, **SHALLOW[name]).train()
    x, reference = images(network, 4), copy.deepcopy(network)
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    for run in (compiled, reference):
        run(x).square().sum().backward()
    expected = dict(reference.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-4)
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(buffer, reference.get_buffer(name), rtol=1e-5, atol=1e-6)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), reference.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_inductor(images):
    torch.compiler.reset()
    network = extracted("glit", **SHALLOW["glit"])
    x = images(network, 4)
    compiled = torch.compile(network, fullgraph=True)
    torch.testing.assert_close(compiled(x), network(x), rtol=1e-4, atol=1e-4)


class Labelled(Dataset):
    """A data set that labels images by a network, as pseudo-labels are made."""

    def __init__(self, network, images):
        self.network = network
        self.images = images

    def __len__(self):
        return len(self.images)

    @torch.no_grad()
    def __getitem__(self, index):
        return self.images[index], self.network(self.images[index][None])[0]


@pytest.mark.slow
@torch.no_grad()
def test_workers_get_it_pickled(images):
    network = extracted("vit_resnas")
    x = images(network, 4)
    loader = DataLoader(
        Labelled(network, x), batch_size=2, num_workers=1, multiprocessing_context="spawn"
    )
    found = torch.cat([logits for _, logits in loader])
    torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-5)
