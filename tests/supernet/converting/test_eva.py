"""timm's `eva.py`: rotary positions, biases of queries and values, LayerScale as a vector."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from position_networks import (
    assert_all_weights_learn,
    assert_architectures_are_parts,
    assert_largest_is_the_original,
    assert_weights_go_back,
    create,
    images,
    noisy,
)
from timm.models.eva import Eva

import vitsearch
from vitsearch import Architecture, SearchSpace
from vitsearch.errors import SpaceError
from vitsearch.exporting import export_model
from vitsearch.supernet.converting.from_timm import timm_space_config

# One name for each variation among timm's names.
VARIATIONS = {
    "learned positions, biases of q and v": ("eva_giant_patch14_224", {}),
    "class token": ("eva_giant_patch14_clip_224", {}),
    "rotation of neighbours, packed SwiGLU": ("eva02_tiny_patch14_224", {}),
    "projections apart, norm of hidden units": ("eva02_base_patch14_224", {}),
    "norm of the joined heads": ("eva02_base_patch16_clip_224", {}),
    "rotation of halves, no biases": ("vit_small_patch16_dinov3", {}),
    "rotation of halves, biases": ("vit_tiny_patch16_dinov3_qkvb", {}),
    "SwiGLU": ("vit_small_plus_patch16_dinov3", {}),
    "SwiGLU, biases": ("vit_small_plus_patch16_dinov3_qkvb", {}),
    "LingBot": ("vit_small_patch16_lingbot", {}),
    "LingBot, SwiGLU": ("vit_giant_patch16_lingbot", {}),
    "columns first": ("vit_small_patch16_rope_224", {}),
    "columns first, positions of patches": ("vit_small_patch16_rope_ape_224", {}),
    "learned frequencies": ("vit_small_patch16_rope_mixed_224", {}),
    "learned frequencies, positions": ("vit_small_patch16_rope_mixed_ape_224", {}),
    "no class token, register": ("vit_medium_patch16_rope_reg1_gap_256", {}),
    "no biases, register": ("vit_mediumd_patch16_rope_reg1_gap_256", {}),
    "four registers": ("vit_betwixt_patch16_rope_reg4_gap_256", {}),
    "norm in front, pool by attention": ("vit_pe_core_tiny_patch16_384", {}),
    "pool by attention, no class token": ("vit_pe_core_gigantic_patch14_448", {}),
    "no final norm": ("vit_pe_spatial_tiny_patch16_512", {}),
    "no final norm, LayerScale": ("vit_pe_lang_large_patch14_448", {}),
    "no final norm, no class token": ("vit_pe_lang_gigantic_patch14_448", {}),
    "normalised queries, attention alone scaled": (
        "vit_base_patch16_sapiens2",
        {"num_kv_heads": 3},
    ),
    "images of any size, rotation of neighbours": (
        "vit_small_patch16_rope_224",
        {"dynamic_img_size": True},
    ),
    "learned frequencies, images of any size": (
        "vit_small_patch16_rope_mixed_224",
        {"dynamic_img_size": True},
    ),
    "fixed images, rotation of halves": (
        "vit_tiny_patch16_dinov3_qkvb",
        {"dynamic_img_size": False},
    ),
    "largest and mean": ("eva02_tiny_patch14_224", {"global_pool": "avgmax"}),
    "pixels over": ("vit_tiny_patch16_dinov3_qkvb", {"img_size": 50, "dynamic_img_size": False}),
}
POST_NORM = "blocks.0: it is a EvaBlockPostNorm, not a EvaBlock"
REFUSED = {
    "eva02_enormous_patch14_clip_224": POST_NORM,
    "vit_large_patch16_sapiens2": "blocks.8.attn: its 16 heads share 8 keys and values",
    "vit_huge_patch16_sapiens2": "blocks.8.attn: its 16 heads share 8 keys and values",
    "vit_giant_patch16_sapiens2": "blocks.8.attn: its 24 heads share 12 keys and values",
    "vit_5b_patch16_sapiens2": "blocks.8.attn: its 32 heads share 16 keys and values",
    "vit_base_patch16_sapiens2": "patch_embed: img_size=(1024, 768) is not square",
}
each_variation = pytest.mark.parametrize("key", VARIATIONS)
ROPES = ["columns first", "learned frequencies", "rotation of halves, biases"]


def variation(key, dtype=torch.float64, **options):
    name, own = VARIATIONS[key]
    return create(name, dtype, **{**own, **options})


@each_variation
def test_largest_is_the_original(key):
    assert_largest_is_the_original(variation(key))


@each_variation
def test_architectures_are_parts(key):
    assert_architectures_are_parts(variation(key))


@each_variation
def test_all_weights_learn(key):
    assert_all_weights_learn(variation(key))


@each_variation
def test_weights_go_back(key):
    assert_weights_go_back(variation(key))


@pytest.mark.slow
def test_every_name_converts_or_is_refused():
    names = timm.list_models(module="eva")
    assert len(names) >= 65
    found = {}
    for name in names:
        try:
            timm_space_config(name)
        except SpaceError as error:
            found[name] = str(error)
    assert found.keys() == REFUSED.keys()
    assert all(reason in found[name] for name, reason in REFUSED.items())


def test_a_side_makes_a_network_of_rectangular_images_square():
    config = timm_space_config("vit_base_patch16_sapiens2", img_size=64)
    assert (config["image_size"], config["mixer"]["kind"]) == (64, "rope_attention")


@pytest.mark.parametrize("key", ROPES)
def test_other_precisions_compute_the_same_angles(key):
    network = variation(key, torch.float32)
    supernet = vitsearch.from_timm(network)
    taken = supernet.extract(supernet.largest)
    with torch.no_grad():
        for dtype in (torch.float64, torch.bfloat16):
            theirs, ours = copy.deepcopy(network).to(dtype), copy.deepcopy(taken).to(dtype)
            x = images(theirs)
            assert torch.equal(ours(x), theirs(x)), dtype


@pytest.mark.parametrize("key", ROPES)
@pytest.mark.parametrize("side", [32, 80])
def test_rotations_follow_the_grid(key, side):
    network = variation(key)
    smaller = vitsearch.from_timm(network, img_size=side)
    taken = vitsearch.from_timm(network)
    taken = taken.extract(taken.largest)
    taken.set_input_size(side)
    network.set_input_size((side, side))
    x = images(network)
    with torch.no_grad():
        logits = network(x)
        assert (smaller(x) - logits).abs().max() < 1e-10
        assert (taken(x) - logits).abs().max() < 1e-10
        assert taken(x[:1]).shape == (1, 5)


def test_tables_are_in_no_state_dict(tmp_path):
    supernet = vitsearch.from_timm(variation("rotation of halves, biases", torch.float32))
    taken, x = supernet.extract(supernet.largest), torch.randn(1, 3, 48, 48)
    assert not [name for name in taken.state_dict() if "tables" in name]
    vitsearch.save_pretrained(taken, tmp_path)
    with torch.no_grad():
        assert torch.equal(vitsearch.from_pretrained(tmp_path)(x), taken(x))


def test_learned_frequencies_belong_to_their_heads():
    network = variation("learned frequencies")
    supernet = vitsearch.from_timm(network)
    fewer = {**supernet.largest.to_dict(), "stages.0.blocks.1.num_heads": 1}
    taken = supernet.extract(Architecture.from_dict(fewer))
    freqs = taken.state_dict()["stages.0.blocks.1.attn.freqs"]
    assert torch.equal(freqs, network.rope.freqs[:, 1, :1])
    assert "stages.0.blocks.1.attn.freqs" in supernet.no_weight_decay()


def tiny(**options):
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return noisy(Eva(**{**sizes, "num_classes": 3, "use_rot_pos_emb": True, **options}))


def gated():
    network = tiny(attn_type="rope")
    network.blocks[1].attn.gate = torch.nn.Linear(32, 32)
    return network


def other_pairs():
    network = tiny()
    network.blocks[1].attn.rotate_half = True
    return network


def by_smallest_side():
    network = tiny(rope_type="dinov3", rope_rotate_half=True)
    network.rope.normalize_coords = "min"
    return network


def in_pixels():
    network = tiny()
    network.rope.in_pixels = True
    return network


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: tiny(use_post_norm=True), POST_NORM),
        (
            lambda: tiny(attn_type="rope", qkv_fused=False, num_kv_heads=(2, 1)),
            "blocks.1.attn: its 2 heads share 1 keys and values (grouped attention)",
        ),
        (gated, "blocks.1.attn.gate: attention with a gate is not supported"),
        (other_pairs, "rope: its pairs of channels are not those of blocks.1.attn"),
        (by_smallest_side, "rope: only a temperature and coordinates by side are supported"),
        (in_pixels, "rope: only coordinates in patches are supported"),
        (lambda: tiny(rope_type="mrope"), "rope: it is a RotaryEmbeddingMRope, not a Rotary"),
        (lambda: tiny(img_size=(16, 24)), "patch_embed: img_size=(16, 24) is not square"),
        (
            lambda: tiny(img_size=20, dynamic_img_size=True, dynamic_img_pad=True),
            "patch_embed: it pads images that its patches do not fill",
        ),
        (
            lambda: tiny(use_post_transformer_norm=True, use_fc_norm=True),
            "fc_norm: there is a norm before the pool, too",
        ),
        (lambda: tiny(global_pool=""), "global_pool: '' gives no pooled features"),
    ],
)
def test_what_is_not_exact_is_refused_by_its_module(make, reason):
    with pytest.raises(SpaceError) as caught:
        vitsearch.from_timm(make())
    assert f"Eva cannot be made elastic: {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"qk_dims": [5, 16]}, "qk_dims=[5, 16]: channels of queries and keys that are rotated"),
        ({"qk_dims": [6]}, "have a multiple of 4 channels"),
        ({"rope": None}, "rope=None must be a section with kind (cat, dinov3, mixed)"),
        ({"rope": {"kind": "other"}}, "rope.kind=other"),
        ({"rope": {"kind": "mixed", "half": True}}, "rope.half=true: rope mixed rotates"),
        ({"rope": {"kind": "cat", "reference_grid": [4]}}, "reference_grid=[4] must be rows and"),
        ({"rope": {"kind": "cat", "speed": 1}}, "rope.speed is no setting"),
    ],
)
def test_settings_of_a_rotation_that_are_not_legal(change, words):
    config = vitsearch.from_timm(tiny()).space.config
    with pytest.raises(SpaceError) as caught:
        SearchSpace({**config, "mixer": {**config["mixer"], **change}})
    assert words in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["learned frequencies", "rotation of halves, biases"])
def test_rotations_can_be_exported(key, tmp_path):
    supernet = vitsearch.from_timm(variation(key, torch.float32))
    exported = export_model(supernet.extract(supernet.largest), tmp_path)  # it compares the outputs
    assert exported.path.is_file()
