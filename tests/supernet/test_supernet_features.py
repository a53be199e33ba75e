"""Features on the way to the logits, by timm's indices."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from tests.every_space import SMALL, perturbed, space_named

from vitsearch import VisionTransformer, save_model
from vitsearch.errors import ConfigError
from vitsearch.supernet.heads import as_tokens


@pytest.fixture(scope="module", params=SMALL)
def network(request):
    space = space_named(request.param)
    torch.manual_seed(0)
    return perturbed(VisionTransformer(space, space.sample(random.Random(4)), 5)).eval()


@torch.no_grad()
def test_intermediates_are_those_of_the_forward_pass(network, images):
    x = images(network)
    expected = network.forward_features(x)
    tokens, features = network.forward_intermediates(x)
    assert torch.equal(tokens, expected)
    stopped, same = network.forward_intermediates(x, stop_early=True)
    by_branch = bool(network.plan.feature_names)  # then more follows behind the last index
    assert by_branch or torch.equal(stopped, expected)  # else the last index is the last block
    assert len(features) == len(network.feature_info)
    for feature, again, info in zip(features, same, network.feature_info, strict=True):
        assert torch.equal(feature, again)
        side = feature.shape[-1] if feature.dim() == 4 else 1  # tokens without places
        own = (info["num_chs"], side, side) if feature.dim() == 4 else feature.shape[1:]
        assert feature.shape == (2, *own)
        assert info["num_chs"] in feature.shape
        assert info["reduction"] == network.space.image_size // side
        network.get_submodule(info["module"])
    if by_branch:
        assert torch.equal(features[-1], stopped)
        return
    prefix = network.num_prefix_tokens
    last = network.forward_intermediates(
        x, 1, norm=True, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    expected = as_tokens(expected)
    assert torch.equal(torch.cat([last[0][1], last[0][0]], dim=1), expected)
    assert last[0][1].shape[1] == prefix
    maps = network.forward_intermediates(x, [-1], norm=True, intermediates_only=True)
    assert torch.equal(as_tokens(maps[0]), expected[:, prefix:])


@torch.no_grad()
def test_stopping_early_gives_the_same_features(network, images):
    x = images(network)
    features = network.forward_intermediates(x, intermediates_only=True)
    stopped, first = network.forward_intermediates(x, [0], stop_early=True, output_fmt="NLC")
    assert torch.equal(first[0], as_tokens(features[0]))
    assert as_tokens(stopped).shape[1] == first[0].shape[1] + network.num_prefix_tokens


@torch.no_grad()
def test_pruned_networks_give_the_same_features(network, images, tmp_path):
    x = images(network)
    count = len(network.feature_info)
    features = network.forward_intermediates(x, intermediates_only=True)
    for index in {0, count // 2, count - 1}:
        pruned = copy.deepcopy(network)
        assert pruned.prune_intermediate_layers([index], prune_norm=True) == [index]
        assert pruned.feature_info == network.feature_info[: index + 1]
        (found,) = pruned.forward_intermediates(x, [index], intermediates_only=True)
        assert torch.equal(found, features[index])
        assert pruned.num_features == network.feature_info[index]["num_chs"]
        assert not [name for name in pruned.state_dict() if name.startswith(("norm", "head"))]
        if index < count - 1:
            assert pruned(x).shape == (2, pruned.num_features)
            with pytest.raises(ConfigError, match="no whole architecture of space"):
                save_model(pruned, tmp_path / "pruned")
    assert network.num_classes == 5


@torch.no_grad()
def test_dinos_name(network, images):
    x = images(network)
    (last,) = network.get_intermediate_layers(x, norm=True)
    tokens = as_tokens(network.forward_intermediates(x, stop_early=True)[0])
    assert torch.equal(last, tokens[:, network.num_prefix_tokens :])
    maps = network.get_intermediate_layers(x, [0, -1], reshape=True, return_prefix_tokens=True)
    placed = [getattr(stage.shape, "placed", True) for stage in network.plan.stages]
    assert maps[0][0].dim() == 4
    assert maps[-1][0].dim() == (4 if placed[-1] else 3)
    assert all(tokens.dim() == 3 for _, tokens in maps)


def test_recomputing_intermediates(network, images):
    x = images(network)
    found = []
    for enabled in (False, True):
        again = copy.deepcopy(network).double()
        again.set_grad_checkpointing(enabled)
        features = again.forward_intermediates(x.double(), intermediates_only=True)
        sum(feature.square().sum() for feature in features).backward()
        found.append([p.grad for p in again.stages.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_what_is_not_legal(network, images):
    x, count = images(network), len(network.feature_info)
    for indices in (0, count + 1, [], [count], [-count - 1]):
        with pytest.raises(ConfigError, match=f"features 0 to {count - 1}"):
            network.forward_intermediates(x, indices)
        with pytest.raises(ConfigError, match=f"features 0 to {count - 1}"):
            network.prune_intermediate_layers(indices)
    with pytest.raises(ConfigError, match="output_fmt=NHWC is none of NCHW, NLC"):
        network.forward_intermediates(x, output_fmt="NHWC")
