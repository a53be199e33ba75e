"""What sub-networks of a converted network may have."""

from __future__ import annotations

import re

import pytest
import torch
from timm_networks import create, drawn, pictures

import vitsearch
from vitsearch.errors import SpaceError
from vitsearch.supernet.converting.from_timm import timm_space_config
from vitsearch.supernet.converting.options import Options, sizes


@pytest.mark.parametrize(
    ("name", "full", "shares", "expected"),
    [
        ("mlp_hidden", 64, [0.1, 0.5, 0.99, 1], [8, 32, 64]),
        ("mlp_hidden", 100, [0.5, 0.999], [48, 96, 100]),
        ("mlp_hidden", 4, [0.5], [4]),
        ("qk_dim", 16, [0.01, 0.26, 0.5], [2, 4, 8, 16]),
        ("num_heads", 3, [1 / 3, 2 / 3], [1, 2, 3]),
        ("embed_dim", 32, [0.5, 0.75], [16, 24, 32]),
    ],
)
def test_shares_are_rounded_and_the_whole_is_always_there(name, full, shares, expected):
    if name == "mlp_hidden" and full == 100:
        expected = sizes(name, full, shares)  # 50 lies between two multiples of eight
        assert set(expected) <= {48, 56, 96, 100}
    assert sizes(name, full, shares) == expected


def test_of_a_space():
    config = timm_space_config(
        "test_vit",
        options={"mlp_hidden": 0.5, "num_heads": [0.5], "qk_dim": [0.5], "v_dim": 1, "depths": [3]},
    )
    assert config["mlp"]["hidden"] == [96, 192]
    assert config["mixer"]["num_heads"] == [1, 2]
    assert config["mixer"]["qk_dims"] == [16, 32]
    assert config["mixer"]["v_dims"] == [32]
    assert config["depths"] == [3, 6]
    assert config["embed_dims"] == [64]
    every = vitsearch.SearchSpace(timm_space_config("vit_base_patch16_224"))
    names = {choice.name: choice.options for choice in every.choices}
    assert names["stages.0.blocks.0.num_heads"] == tuple(range(1, 13))
    assert names["stages.0.blocks.0.mlp_hidden"] == tuple(range(384, 3073, 384))
    assert names["stages.0.blocks.0.keep_attention"] == (False, True)
    assert timm_space_config("test_vit", options=Options()) == timm_space_config("test_vit")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mlp": 0.5}, "options.mlp is unknown; legal: mlp_hidden, num_heads, qk_dim, v_dim"),
        ({"mlp_hidden": 1.5}, "options.mlp_hidden=1.5 must list shares above 0, at most 1"),
        ({"qk_dim": [0]}, "options.qk_dim=[0] must list shares above 0, at most 1"),
        ({"v_dim": []}, "options.v_dim=[] must list shares"),
        ({"num_heads": "half"}, "options.num_heads=half must list shares"),
        ({"depths": [0]}, "options.depths=[0] must list numbers of blocks, 1 or more"),
        ({"depths": [7]}, "options.depths=[7]: test_vit has 6 blocks"),
        ({"removable": "mlp"}, "options.removable=mlp must list some of attention, mlp"),
        ({"removable": ["norm"]}, "options.removable=['norm'] must list some of attention, mlp"),
        ([0.5], "options=[0.5] must be shares by name"),
    ],
    ids=str,
)
def test_options_that_are_not_legal(options, words):
    with pytest.raises(SpaceError, match=re.escape(words)) as info:
        timm_space_config("test_vit", options=options)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("removable", [[], ["attention"], ["mlp"], ["attention", "mlp"]])
@pytest.mark.parametrize("depths", [None, [1, 2]])
def test_removable_branches_and_depths(removable, depths):
    network = vitsearch.from_timm(
        create("vit_base_patch16_224", depth=3), options={"removable": removable, "depths": depths}
    )
    x = pictures(network)
    seen = set()
    for architecture in drawn(network.space, 30):
        taken = network.extract(architecture)
        with torch.no_grad():
            logits = taken(x)
            assert (logits - network(x, architecture)).abs().max() < 1e-12
            assert (taken.to_timm()(x) - logits).abs().max() < 1e-12
        blocks = [node.plan for node in taken.plan.nodes if node.slot is not None]
        seen |= {("depth", len(blocks))}
        for block in blocks:
            seen |= {("attention", block.mixer.inner is None), ("mlp", block.mlp.inner is None)}
            if depths is not None:  # what has no branch is no block
                assert block.mixer.inner or block.mlp.inner
    assert {depth for name, depth in seen if name == "depth"} == {*(depths or []), 3}
    for branch in ("attention", "mlp"):
        assert ((branch, True) in seen) == (branch in removable)


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_clip_224",
        "aimv2_large_patch14_224",
        "beit3_base_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "eva_large_patch14_196",
    ],
)
def test_elastic_width(name):
    network = vitsearch.from_timm(create(name), options={"embed_dim": [0.5, 0.75]})
    x = pictures(network)
    widths = set()
    for architecture in drawn(network.space, 10):
        taken = network.extract(architecture)
        widths.add(taken.embed_dim)
        with torch.no_grad():
            logits = taken(x)
            assert (logits - network(x, architecture)).abs().max() < 1e-12
            assert (taken.to_timm()(x) - logits).abs().max() < 1e-10
        assert sum(p.numel() for p in taken.parameters()) == taken.cost().params
    assert widths == {16, 24, 32}


def test_a_pool_by_attention_keeps_the_width():
    with pytest.raises(SpaceError, match=r"a pool by attention .* takes one width"):
        vitsearch.from_timm(create("vit_base_patch16_siglip_224"), options={"embed_dim": [0.5]})


@pytest.mark.parametrize(
    "name", ["vit_base_patch16_224", "deit_tiny_distilled_patch16_224", "aimv2_large_patch14_224"]
)
def test_a_batch_of_several_architectures(name):
    """Each share of a batch gives the logits, and all shares the gradients, of single runs."""
    network = vitsearch.from_timm(create(name), options={"embed_dim": [0.5], "depths": [1]})
    architectures = drawn(network.space, 4)
    x = pictures(network, count=8)
    mixed = network(x, architectures)
    single = [network(x[2 * i : 2 * i + 2], own) for i, own in enumerate(architectures)]
    assert (mixed - torch.cat(single)).abs().max() < 1e-12

    parameters = [p for p in network.parameters() if p.requires_grad]
    weights = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(1)).double()
    together = torch.autograd.grad((mixed * weights).sum(), parameters, allow_unused=True)
    apart = [torch.zeros_like(p) for p in parameters]
    for i, logits in enumerate(single):
        own = torch.autograd.grad(
            (logits * weights[2 * i : 2 * i + 2]).sum(), parameters, allow_unused=True
        )
        for total, gradient in zip(apart, own, strict=True):
            if gradient is not None:
                total += gradient
    for gradient, expected in zip(together, apart, strict=True):
        found = torch.zeros_like(expected) if gradient is None else gradient
        assert (found - expected).abs().max() < 1e-10
    assert sum(gradient is not None and bool(gradient.any()) for gradient in together) > 10


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "vit_base_patch16_siglip_224"])
def test_gradients_equal_timms(name):
    theirs = create(name)
    ours = vitsearch.from_timm(theirs)
    x = pictures(theirs)
    taken = ours.extract(ours.largest)
    plain = taken.to_timm()
    for network in (theirs, taken, plain, ours):
        network(x).square().sum().backward()
    for own, name_of in ((plain, str), (taken, lambda n: f"stages.0.{n}")):
        for leaf in ("blocks.0.mlp.fc2.weight", "blocks.1.attn.proj.weight"):
            expected = theirs.get_parameter(leaf).grad
            assert (own.get_parameter(name_of(leaf)).grad - expected).abs().max() < 1e-10
            shared = ours.get_parameter(f"stages.0.{leaf}").grad
            assert (shared - expected).abs().max() < 1e-10
