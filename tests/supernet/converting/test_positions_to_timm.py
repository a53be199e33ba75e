"""`to_timm` of networks whose attention knows positions: timm's `Eva` and `Beit`."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from position_networks import SMALL, create, images
from test_beit import VARIATIONS as BEITS
from test_eva import VARIATIONS as EVAS
from timm.layers import AttentionRope
from timm.models.beit import Attention, Beit, Block
from timm.models.eva import Eva, EvaBlock
from timm_networks import drawn, num_parameters
from torch import nn

import vitsearch
from vitsearch import VisionTransformer
from vitsearch.errors import ConfigError
from vitsearch.supernet.converting.timm_modules import AbsentBranch

PLAIN = ("learned positions, biases of q and v", "class token")  # of eva.py, without rotation
ROPES = [key for key in EVAS if key not in PLAIN]
BEIT = "beit_base_patch16_224"


def elastic(key_or_name, **options):
    """A super-transformer of a variation, or of a name of timm."""
    name, own = EVAS.get(key_or_name, (key_or_name, {}))
    if key_or_name in BEITS:
        name, own = BEIT, BEITS[key_or_name]
    return vitsearch.from_timm(create(name, **own), options=options or None)


def with_sizes(supernet, **sizes) -> VisionTransformer:
    """A sub-network: `block_0_num_heads=1` and so on, all else full."""
    chosen = supernet.largest.to_dict()
    for key, value in sizes.items():
        _, block, choice = key.split("_", 2)
        chosen[f"stages.0.blocks.{block}.{choice}"] = value
    return supernet.extract(supernet.space.canonical(chosen))


def assert_same(network: VisionTransformer, plain: nn.Module, tolerance: float = 1e-12) -> None:
    x = images(network_like(network))
    with torch.no_grad():
        assert network(x).abs().max() > 1e-3
        assert (plain(x) - network(x)).abs().max() < tolerance


def network_like(network):
    """What `images` asks for."""

    class Like:
        patch_embed = type("", (), {"img_size": (network.space.image_size,) * 2})

        def parameters(self):
            return network.parameters()

    return Like()


@pytest.mark.parametrize("key", [*EVAS, *BEITS])
def test_the_largest_network_is_timms_again(key):
    supernet = elastic(key)
    network = supernet.extract(supernet.largest)
    plain = network.to_timm()
    if key in ROPES:
        assert type(plain) is Eva
        assert {type(block) for block in plain.blocks} == {EvaBlock}
        assert {type(block.attn) for block in plain.blocks} == {AttentionRope}
    elif supernet.space.config["mixer"]["kind"] == "beit_attention":
        assert type(plain) is Beit
        assert {type(block.attn) for block in plain.blocks} == {Attention}
    for module in plain.modules():
        assert "forward" not in vars(module)  # nothing is patched
    assert_same(network, plain)


@pytest.mark.parametrize("key", ROPES)
def test_random_networks_with_rotary_positions(key):
    """Heads of any number, pairs of any number, branches and blocks left out."""
    supernet = elastic(key)
    made = 0
    for architecture in drawn(supernet.space, 12):
        network = supernet.extract(architecture)
        try:
            plain = network.to_timm()
        except ConfigError as error:
            message = str(error)
            assert "of one number for all blocks" in message or "joined heads" in message
            continue
        assert_same(network, plain)
        made += 1
    assert made or key == "norm of the joined heads"


def test_pairs_of_any_order_are_where_their_frequencies_are():
    for name in ("eva02_tiny_patch14_224", "vit_tiny_patch16_dinov3_qkvb"):
        supernet = elastic(name)
        x = images(create(name), 16)
        supernet.order(supernet.calibrate([x]))
        network = with_sizes(supernet, block_0_qk_dim=8, block_1_qk_dim=4, block_1_v_dim=8)
        plain = network.to_timm()
        assert [block.attn.head_dim for block in plain.blocks] == [16, 16]
        assert_same(network, plain)


def test_fewer_heads_are_fewer_in_timms_network():
    supernet = elastic("vit_tiny_patch16_dinov3_qkvb")
    network = with_sizes(supernet, block_0_num_heads=1, block_1_mlp_hidden=48)
    plain = network.to_timm()
    assert [block.attn.num_heads for block in plain.blocks] == [1, 3]
    assert plain.blocks[1].mlp.fc1.out_features == 48
    biases_of_keys = 16 * (1 + 3)  # which timm's one bias has, too
    assert num_parameters(plain) == network.cost().params + biases_of_keys


@pytest.mark.parametrize("gone", ["attention", "mlp", "both"])
@pytest.mark.parametrize("name", ["vit_small_patch16_rope_mixed_224", BEIT])
def test_branches_that_are_left_out(name, gone, tmp_path):
    branches = ["attention", "mlp"] if gone == "both" else [gone]
    network = with_sizes(elastic(name), **{f"block_0_keep_{branch}": False for branch in branches})
    plain = network.to_timm()
    assert len(plain.blocks) == 2 - (gone == "both")
    assert any(isinstance(m, AbsentBranch) for m in plain.modules()) == (gone != "both")
    assert_same(network, plain)
    again = vitsearch.from_timm(plain)  # converted again
    assert_same(network, again.extract(again.largest), 1e-10)
    network.set_input_size(96)
    plain.set_input_size(96)
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        assert (plain(x) - network(x)).abs().max() < 1e-10


@pytest.mark.parametrize(
    "name",
    [
        "eva02_tiny_patch14_224",
        "vit_tiny_patch16_dinov3_qkvb",
        "vit_small_patch16_rope_mixed_224",
        "vit_pe_core_tiny_patch16_384",
        BEIT,
    ],
)
def test_it_trains_is_saved_and_loaded(name, tmp_path):
    small = {"block_0_mlp_hidden": 48} | ({} if name == BEIT else {"block_0_qk_dim": 8})
    network = with_sizes(elastic(name), **small).float()
    plain = network.to_timm().train()
    x = images(network_like(network))
    optimizer = torch.optim.SGD(plain.parameters(), lr=1e-3)
    before = plain(x).square().mean()
    before.backward()
    for own, parameter in plain.named_parameters():
        assert parameter.grad is not None, own
    optimizer.step()
    assert plain(x).square().mean() < before
    plain.eval()
    folder = vitsearch.save_timm(plain, tmp_path / "timm")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert type(loaded) is type(plain)
    with torch.no_grad():
        assert torch.equal(loaded(x), plain(x))
        side = 2 * network.space.image_size
        options = {"pretrained": True, "num_classes": 2, "img_size": side}
        other = timm.create_model(f"local-dir:{folder}", **options).eval()
        larger = torch.randn(1, 3, side, side)
        assert other(larger).shape == (1, 2)
        own = other.forward_features(larger)
    ours = vitsearch.from_timm(folder, pretrained=True)
    with torch.no_grad():
        assert (ours(x) - plain(x)).abs().max() < 1e-5
        plain.set_input_size((side, side))
        assert (own - plain.forward_features(larger)).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224", BEIT])
def test_other_precisions(name, dtype):
    supernet = elastic(name)
    network = supernet.extract(supernet.largest).to(dtype)
    plain = network.to_timm()
    assert {tensor.dtype for tensor in plain.state_dict().values()} == {dtype}
    assert_same(network, plain, 1e-12 if dtype == torch.float64 else 0.05)


REFUSED = {
    "fewer heads of BEiT": (
        BEIT,
        {"block_1_num_heads": 2},
        "stages.0.blocks.1.attn: 2 heads of 16 channels have 32 in all; those of timm's Beit have "
        "as many as the tokens, 48",
    ),
    "narrower heads of BEiT": (
        BEIT,
        {"block_0_qk_dim": 8, "block_0_v_dim": 8},
        "stages.0.blocks.0.attn: 3 heads of 8 channels have 24 in all",
    ),
    "learned frequencies": (
        "vit_small_patch16_rope_mixed_224",
        {"block_1_num_heads": 2},
        "stages.0.blocks.1.attn: it has 2 heads and stages.0.blocks.0 3; timm's learned "
        "frequencies are of one number for all blocks",
    ),
    "norm of the joined heads": (
        "eva02_base_patch16_clip_224",
        {"block_0_v_dim": 8},
        "stages.0.blocks.0.attn: heads have 16 channels of queries and 8 of values, and the norm",
    ),
}


@pytest.mark.parametrize("key", REFUSED)
def test_sizes_that_timms_class_cannot_have(key, tmp_path):
    name, sizes, words = REFUSED[key]
    network = with_sizes(elastic(name), **sizes)
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        vitsearch.save_timm(network, tmp_path / "timm")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_number_of_heads_for_all_blocks_will_do():
    supernet = elastic("vit_small_patch16_rope_mixed_224")
    sizes = {"block_0_num_heads": 2, "block_1_num_heads": 2, "block_1_qk_dim": 8}
    network = with_sizes(supernet, **sizes)
    assert_same(network, network.to_timm())


def test_queries_alone_may_be_narrower_in_beit():
    network = with_sizes(elastic(BEIT), block_0_qk_dim=8, block_1_v_dim=8)
    plain = network.to_timm()
    assert type(plain.blocks[0]) is Block
    assert plain.blocks[0].attn.qkv.out_features == 3 * SMALL["embed_dim"]
    assert_same(network, plain)
