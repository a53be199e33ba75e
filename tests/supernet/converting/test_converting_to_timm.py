"""What `to_timm` and `save_timm` give: timm's own classes, with each block's own sizes."""

from __future__ import annotations

import json
import re

import pytest
import timm
import torch
from tests.every_space import SMALL, quick_space
from timm.layers import Attention, GluMlp, Mlp, SwiGLU
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from timm.optim import param_groups_layer_decay
from timm_networks import VARIATIONS, create, drawn, num_parameters, pictures, variation
from torch import nn

import vitsearch
from vitsearch.errors import ConfigError
from vitsearch.supernet.converting.timm_modules import AbsentBranch


def with_sizes(name, options=None, **sizes):
    """A sub-network: `block_0_num_heads=1` and so on, all else full."""
    theirs = variation(name) if name in VARIATIONS else create(name)
    supernet = vitsearch.from_timm(theirs, options=options)
    chosen = supernet.largest.to_dict()
    for key, value in sizes.items():
        _, block, choice = key.split("_", 2)
        chosen[f"stages.0.blocks.{block}.{choice}"] = value
    return supernet.extract(supernet.space.canonical(chosen))


def test_blocks_are_timms_own_with_their_own_sizes():
    network = with_sizes("vit_base_patch16_224", block_0_num_heads=1, block_1_mlp_hidden=32)
    plain = network.to_timm()
    assert type(plain) is VisionTransformer
    assert [type(block) for block in plain.blocks] == [Block, Block]
    assert [type(block.attn) for block in plain.blocks] == [Attention, Attention]
    assert [block.attn.num_heads for block in plain.blocks] == [1, 2]
    assert [block.mlp.fc1.out_features for block in plain.blocks] == [128, 32]
    for module in plain.modules():
        assert "forward" not in vars(module)  # nothing is patched
    assert num_parameters(plain) == network.cost().params
    x = pictures(network)
    assert (plain(x) - network(x)).abs().max() < 1e-12
    # It is a copy.
    before = network(x)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert torch.equal(network(x), before)


@pytest.mark.parametrize(
    ("key", "of_network", "of_mlp"),
    [
        ("distilled", VisionTransformerDistilled, Mlp),
        ("packed SwiGLU", VisionTransformer, GluMlp),
        ("plain SwiGLU, embed norm, no biases", VisionTransformer, SwiGLU),
    ],
)
def test_classes(key, of_network, of_mlp):
    theirs = variation(key)
    supernet = vitsearch.from_timm(theirs)
    plain = supernet.extract(supernet.largest).to_timm()
    assert type(plain) is of_network
    assert {type(block.mlp) for block in plain.blocks} == {of_mlp}
    state = theirs.state_dict()
    assert plain.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())


def test_branches_that_are_left_out():
    network = with_sizes(
        "deit3_small_patch16_224",
        block_0_keep_attention=False,
        block_1_keep_mlp=False,
    )
    plain = network.to_timm()
    assert isinstance(plain.blocks[0].attn, AbsentBranch)
    assert isinstance(plain.blocks[1].mlp, AbsentBranch)
    assert num_parameters(plain) == network.cost().params
    x = pictures(network)
    assert (plain(x) - network(x)).abs().max() < 1e-12
    mask = torch.zeros(10, 10, dtype=x.dtype)
    assert (plain(x, attn_mask=mask) - plain(x)).abs().max() < 1e-12
    again = vitsearch.from_timm(plain)
    for name, kept in (("0.keep_attention", False), ("1.keep_mlp", False)):
        assert all(own[f"stages.0.blocks.{name}"] is kept for own in drawn(again.space, 20))


@pytest.mark.parametrize("gone", [0, 1])
def test_blocks_that_are_left_out(gone):
    network = with_sizes(
        "vit_base_patch16_224",
        **{f"block_{gone}_keep_attention": False, f"block_{gone}_keep_mlp": False},
        **{f"block_{1 - gone}_num_heads": 1},
    )
    plain = network.to_timm()
    assert len(plain.blocks) == len(plain.feature_info) == 1
    assert plain.blocks[0].attn.num_heads == 1
    x = pictures(network)
    assert (plain(x) - network(x)).abs().max() < 1e-12


def test_no_block_at_all():
    gone = {f"block_{i}_keep_{branch}": False for i in (0, 1) for branch in ("attention", "mlp")}
    network = with_sizes("vit_base_patch16_224", **gone)
    x = pictures(network)
    assert (network.to_timm()(x) - network(x)).abs().max() < 1e-12


@pytest.mark.parametrize(("queries", "values", "width"), [(8, 16, 16), (16, 4, 16), (8, 4, 8)])
@pytest.mark.parametrize("name", ["vit_base_patch16_224", "aimv2_large_patch14_224"])
def test_heads_of_two_widths_are_padded(name, queries, values, width):
    sizes = {"block_0_qk_dim": queries, "block_0_v_dim": values}
    network = with_sizes(name, **sizes)
    plain = network.to_timm()
    attention = plain.blocks[0].attn
    assert attention.head_dim == width
    x = pictures(network)
    assert (plain(x) - network(x)).abs().max() < 1e-12
    more = 2 * 2 * (2 * width - queries - values) * 32  # heads, matrices, channels, C
    biases = 2 * (3 * width - 2 * queries - values) if attention.qkv.bias is not None else 0
    assert num_parameters(plain) == network.cost().params + more + biases


@pytest.mark.parametrize("key", ["normalised queries", "queries under RMSNorm"])
def test_normalised_queries_take_the_factor_of_the_scale(key):
    network = with_sizes(key, block_0_v_dim=8)
    x = pictures(network)
    assert (network.to_timm()(x) - network(x)).abs().max() < 1e-12
    space = vitsearch.SearchSpace(
        {**network.space.config, "mixer": {**network.space.config["mixer"], "scale_dim": 5}}
    )
    other = vitsearch.VisionTransformer(space, network.architecture, 3).double().eval()
    other.load_state_dict(network.state_dict())
    assert not torch.allclose(other(x), network(x))
    assert (other.to_timm()(x) - other(x)).abs().max() < 1e-12


def test_settings_go_along():
    supernet = vitsearch.from_timm(create("vit_base_patch16_224", depth=3))
    network = vitsearch.VisionTransformer(
        supernet.space, supernet.largest, 3, drop_rate=0.3, drop_path_rate=0.2, patch_head=True
    )
    network.train().set_grad_checkpointing()
    plain = network.bfloat16().to_timm()
    assert plain.training
    assert plain.grad_checkpointing
    assert plain.head_drop.p == 0.3
    assert [getattr(b.drop_path1, "drop_prob", 0) for b in plain.blocks] == pytest.approx(
        [0, 0.1, 0.2]
    )
    assert {p.dtype for p in plain.parameters()} == {torch.bfloat16}
    assert plain.pretrained_cfg["input_size"] == (3, 12, 12)
    assert plain.get_submodule(plain.pretrained_cfg["first_conv"]) is plain.patch_embed.proj
    assert plain.get_submodule(plain.pretrained_cfg["classifier"]) is plain.head


@pytest.mark.parametrize("pool", ["token", "avg", "max", "avgmax", ""])
def test_pools(pool, tmp_path):
    network = with_sizes("vit_base_patch16_224", block_0_num_heads=1)
    network.reset_classifier(4, pool)
    x = pictures(network)
    plain = network.to_timm()
    assert plain.global_pool == pool
    assert (plain(x) - network(x)).abs().max() < 1e-12
    folder = vitsearch.save_timm(network, tmp_path / "timm")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True, dtype=x.dtype).eval()
    assert loaded.global_pool == pool
    assert (loaded(x) - network(x)).abs().max() < 1e-5


def test_timms_tools_on_it():
    network = with_sizes("vit_small_patch14_reg4_dinov2", block_0_num_heads=1)
    plain = network.to_timm()
    x = pictures(network)
    tokens, maps = plain.forward_intermediates(x, norm=True)
    expected, own = network.forward_intermediates(x, norm=True)
    assert (tokens - expected).abs().max() < 1e-12
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(maps, own, strict=True))
    scales = {group["lr_scale"] for group in param_groups_layer_decay(plain, layer_decay=0.5)}
    assert min(scales) == 0.5**3
    plain.set_input_size(20)
    network.set_input_size(20)
    x = pictures(network)
    assert (plain(x) - network(x)).abs().max() < 1e-12
    for block in plain.blocks:
        block.attn.fused_attn = False  # its own scale, not that of torch's function
    assert (plain(x) - network(x)).abs().max() < 1e-12
    plain.reset_classifier(2)
    assert plain(x).shape == (2, 2)


def test_folders_for_timm(tmp_path):
    network = with_sizes(
        "vit_base_patch16_siglip_224", block_0_num_heads=1, block_1_keep_attention=False
    ).float()
    folder = vitsearch.save_timm(network, tmp_path / "timm")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "vitsearch_vit"
    assert config["model_args"]["architecture"]["stages.0.blocks.0.num_heads"] == 1
    source = f"local-dir:{folder}"
    x = pictures(network)
    plain = timm.create_model(source, pretrained=True).eval()
    assert type(plain) is VisionTransformer
    assert (plain(x) - network(x)).abs().max() < 1e-5
    # Options of timm: classes, channels, size, pool, dropout, features.
    other = timm.create_model(
        source, pretrained=True, num_classes=7, in_chans=1, img_size=20, drop_path_rate=0.1
    ).eval()
    assert other(torch.zeros(1, 1, 20, 20)).shape == (1, 7)
    assert torch.equal(other.blocks[0].mlp.fc1.weight, plain.blocks[0].mlp.fc1.weight)
    assert other.blocks[1].drop_path2.drop_prob == pytest.approx(0.1)
    mean = timm.create_model(source, pretrained=True, global_pool="avg").eval()
    assert mean.attn_pool is None
    tokens = plain.forward_features(x)
    assert torch.allclose(mean.forward_head(tokens, pre_logits=True), tokens.mean(1))
    features = timm.create_model(source, pretrained=True, features_only=True, out_indices=[0, 1])
    assert [tuple(f.shape) for f in features(x)] == [(2, 32, 3, 3)] * 2
    # Trained, resized and written again: timm's module itself.
    other.set_input_size(28)
    folder = vitsearch.save_timm(other, tmp_path / "again")
    again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    y = torch.randn(1, 1, 28, 28)
    assert torch.equal(again(y), other(y))
    ours = vitsearch.from_timm(folder, pretrained=True)
    assert (ours(y) - other(y)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "timm.create_model('vitsearch_vit') needs space=... and architecture=..."),
        ({"architecture": 0}, "needs space=... and architecture=..."),
        ({"pretrained": True}, "pretrained=True: vitsearch_vit has no weights"),
        ({"patch_size": 8}, "vitsearch_vit takes no patch_size=8; legal: num_classes, in_chans"),
        ({"global_pool": "map"}, "has no head.attention_pool"),
    ],
    ids=str,
)
def test_arguments_of_the_name_that_are_not_legal(options, words):
    space = vitsearch.from_timm(create("vit_base_patch16_224")).space
    if options.keys() - {"architecture"}:
        options = options | {"space": space, "architecture": space.largest()}
    with pytest.raises(ConfigError, match=re.escape(words)) as info:
        timm.create_model("vitsearch_vit", **options)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_networks_of_other_parts_are_refused(name, tmp_path):
    space = quick_space(name)
    network = vitsearch.VisionTransformer(space, drawn(space, 1)[0], 3)
    words = f"a network of space {space.name} cannot be made a network of timm: "
    for call in (network.to_timm, lambda: vitsearch.save_timm(network, tmp_path / "timm")):
        with pytest.raises(ConfigError, match=re.escape(words)) as info:
            call()
        assert "\n" not in str(info.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=re.escape(words)):
        timm.create_model("vitsearch_vit", space=space, architecture=network.architecture)


def test_networks_that_were_cut_or_are_of_others(tmp_path):
    network = with_sizes("vit_base_patch16_224")
    network.prune_intermediate_layers([0])
    with pytest.raises(ConfigError, match="its features were cut off"):
        network.to_timm()
    with pytest.raises(ConfigError, match="writes timm's own networks"):
        vitsearch.save_timm(create("vit_base_patch16_224"), tmp_path / "timm")
    with pytest.raises(ConfigError, match="a Linear that to_timm"):
        vitsearch.save_timm(nn.Linear(1, 1), tmp_path / "timm")


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        (
            "beit3_base_patch16_224",
            {"qk_dims": [16], "v_dims": [8]},
            "heads have 16 channels of queries and 8 of values, and the norm of the joined heads",
        ),
        (
            "normalised queries",
            {"qk_dims": [8], "v_dims": [16]},
            "heads have 8 channels of queries and 16 of values, and the norm of queries would see",
        ),
    ],
)
def test_padding_that_a_norm_would_see(name, sizes, words):
    config = with_sizes(name).space.config
    space = vitsearch.SearchSpace({**config, "mixer": {**config["mixer"], **sizes}})
    network = vitsearch.VisionTransformer(space, space.largest(), 3)
    words = f"stages.0.blocks.0.attn: {words}"
    with pytest.raises(ConfigError, match=re.escape(words)):
        network.to_timm()
