"""timm's tools on converted networks: what timm's own network gives, ours gives."""

from __future__ import annotations

import copy
import re

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from timm_networks import VARIATIONS, create, pictures, variation

import vitsearch
from vitsearch.errors import ConfigError
from vitsearch.supernet.converting.reading import read_network
from vitsearch.supernet.converting.weights import state_from_timm

CLOSE = {"rtol": 0, "atol": 1e-10}


def pair(key):
    """timm's network, and the largest sub-network of the converted one."""
    theirs = variation(key)
    supernet = vitsearch.from_timm(theirs)
    return theirs, supernet.extract(supernet.largest)


@pytest.mark.parametrize("key", VARIATIONS)
def test_intermediate_features(key):
    theirs, ours = pair(key)
    x = pictures(theirs)
    for options in (
        {},
        {"indices": 1, "norm": True},
        {"indices": [0], "return_prefix_tokens": True, "stop_early": True},
        {"indices": [-1], "output_fmt": "NLC", "intermediates_only": True},
    ):
        found, expected = (
            ours.forward_intermediates(x, **options),
            theirs.forward_intermediates(x, **options),
        )
        if options.get("return_prefix_tokens") and not theirs.num_prefix_tokens:
            found = found[0], [maps for maps, _ in found[1]]  # timm then gives no empty tokens
        torch.testing.assert_close(found, expected, **CLOSE)
    reductions = [info["reduction"] for info in ours.feature_info]
    assert reductions == [info["reduction"] for info in theirs.feature_info]
    assert ours.num_prefix_tokens == theirs.num_prefix_tokens


@pytest.mark.parametrize("key", VARIATIONS)
def test_pruned_to_features(key):
    theirs, ours = pair(key)
    x = pictures(theirs)
    for network in (theirs, ours):
        network.prune_intermediate_layers([0], prune_norm=True)
    found, expected = (n.forward_intermediates(x, [0]) for n in (ours, theirs))
    torch.testing.assert_close(found, expected, **CLOSE)
    sizes = [sum(p.numel() for p in n.parameters()) for n in (ours, theirs)]
    if theirs.__class__.__name__ == "VisionTransformer":
        assert sizes[0] == sizes[1]
    assert len(ours(x)) == 2


@pytest.mark.parametrize("key", ["registers", "no class token, mean", "pixels over", "distilled"])
def test_features_alone(key):
    theirs, ours = pair(key)
    space, architecture = ours.space, ours.architecture
    for name in ("vitsearch", "vitsearch_vit"):
        backbone = timm.create_model(
            name, space=space, architecture=architecture, features_only=True, out_indices=[0, 1]
        )
        assert backbone.feature_info.reduction() == [4, 4]
        assert backbone.feature_info.channels() == [32, 32]
        maps = backbone(pictures(theirs).float())
        assert [tuple(m.shape) for m in maps] == [(2, 32, 3, 3)] * 2


@pytest.mark.parametrize("key", VARIATIONS)
def test_other_input_size(key):
    theirs, ours = pair(key)
    for network in (theirs, ours):
        network.set_input_size(img_size=20)
    x = pictures(ours)
    assert x.shape[-1] == 20
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)


@pytest.mark.parametrize("pool", ["token", "avg", "max", "avgmax", "map", ""])
@pytest.mark.parametrize("key", VARIATIONS)
def test_other_pools(key, pool):
    theirs, ours = pair(key)
    x = pictures(theirs)
    tokens = theirs.forward_features(x)
    try:
        theirs.reset_classifier(0, pool)
    except AssertionError:  # timm cannot either, for want of a token or a layer
        if key != "distilled":
            with pytest.raises(ConfigError, match=f"global_pool='{pool}'"):
                ours.reset_classifier(0, pool)
        return
    ours.reset_classifier(0, pool)
    if key == "distilled" and not pool:  # timm's goes on with two classifiers
        with pytest.raises(ConfigError, match="leaves no token for the distillation classifier"):
            ours.reset_classifier(2, pool)
        return
    assert ours.global_pool == pool
    torch.testing.assert_close(ours.forward_head(tokens), theirs.forward_head(tokens), **CLOSE)
    features = theirs.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(ours.forward_head(tokens, pre_logits=True), features, **CLOSE)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)
    ours.reset_classifier(7)
    assert ours(x).shape == (*features.shape[:-1], 7)
    if pool:
        assert ours.space.config["head"]["pool"] == pool


@pytest.mark.parametrize("pool", ["token", "avg", "max"])
def test_another_pool_is_saved(pool, tmp_path):
    _, ours = pair("class token")
    ours = ours.float()
    ours.reset_classifier(4, pool)
    x = pictures(ours)
    loaded = vitsearch.load_model(vitsearch.save_model(ours, tmp_path / "model"))
    assert torch.equal(loaded(x), ours(x))
    folder = vitsearch.save_pretrained(ours, tmp_path / "hub")
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert by_timm.global_pool == pool
    assert torch.equal(by_timm(x), ours(x))


@pytest.mark.parametrize(
    ("key", "pool", "words"),
    [
        ("no class token, mean", "token", "global_pool='token': space.head.pool=token needs a"),
        ("class token", "map", "global_pool='map': the network has no pool by attention"),
        ("class token", "prr", "global_pool='prr' is not one of 'token', 'avg', 'max', 'avgmax'"),
    ],
)
def test_pools_that_there_are_not(key, pool, words):
    _, ours = pair(key)
    before = ours(pictures(ours))
    with pytest.raises(ConfigError, match=re.escape(words)) as info:
        ours.reset_classifier(2, pool)
    assert "\n" not in str(info.value)
    assert torch.equal(ours(pictures(ours)), before)


def scales(groups, network):
    """The rate and decay of each parameter, by its name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: (group.get("lr_scale"), group["weight_decay"] > 0)
        for group in groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("key", VARIATIONS)
def test_layer_decay_and_weight_decay(key):
    theirs, ours = pair(key)
    reading = read_network(theirs, key)
    for groups in (
        lambda network: param_groups_layer_decay(
            network, no_weight_decay_list=network.no_weight_decay(), layer_decay=0.5
        ),
        lambda network: param_groups_weight_decay(
            network, 0.05, no_weight_decay_list=network.no_weight_decay()
        ),
    ):
        expected, found = scales(groups(theirs), theirs), scales(groups(ours), ours)
        assert set(found) == {name for name, _ in ours.named_parameters()}
        for name, scale in expected.items():
            if "latent" in name:  # timm lets the query of a pool decay
                assert not found["attn_pool.layer.latent"][1]
                continue
            for own in state_from_timm({name: theirs.get_parameter(name)}, reading):
                assert found[own] == scale, own
    exempt = ours.no_weight_decay()
    own = {name for name, _ in ours.named_parameters()}
    assert {f"stem.{name}" for name in ("reg_token", "cls_token", "pos_embed")} & own <= exempt


def test_features_of_a_distilled_network_are_the_mean_of_both_tokens():
    theirs, ours = pair("distilled")
    tokens = theirs.forward_features(pictures(theirs))
    features = ours.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(features, (tokens[:, 0] + tokens[:, 1]) / 2, **CLOSE)
    supernet = vitsearch.from_timm(theirs, num_classes=0)
    torch.testing.assert_close(supernet(pictures(theirs)), features, **CLOSE)


def test_a_copy_has_its_own_pool():
    network = vitsearch.from_timm(create("vit_base_patch16_siglip_224"))
    ours = network.extract(network.largest)
    other = copy.deepcopy(ours)
    other.reset_classifier(0, "avg")
    assert ours.attn_pool is not None
    assert other.attn_pool is None
