"""The tables of names, without networks: everything is taken once, and lands where it belongs."""

from __future__ import annotations

import re

import pytest
import torch
from authors import CHECKPOINTS, PUBLISHED, authors_shapes, authors_state, our_shapes

import vitsearch
from vitsearch.errors import CheckpointError
from vitsearch.spaces.published import family_of
from vitsearch.supernet.storage.importing.autoformer import AUTOFORMER
from vitsearch.supernet.storage.importing.load import FAMILIES, check_given, convert
from vitsearch.supernet.storage.importing.vitas import VITAS

OTHERS = [name for name in PUBLISHED if not name.startswith("glit")]


def shapes_of(name):
    if not name.startswith("glit"):
        return our_shapes(name)
    network = vitsearch.create_model(name)
    return {ours: tuple(tensor.shape) for ours, tensor in network.state_dict().items()}


def takes_of(name, given=()):
    family = FAMILIES[name.rpartition("_")[0]]
    return family, dict(family.takes(shapes_of(name), given, PUBLISHED[name]))


def test_every_published_network_has_a_family():
    without = {"vt"}  # of which nobody has published weights
    assert {family_of(name) for name in vitsearch.list_published()} == set(FAMILIES) | without
    with pytest.raises(CheckpointError, match="vt_resnet18: no published weights are known"):
        vitsearch.load_published_checkpoint("vt_resnet18", {"a": torch.zeros(1)})


@pytest.mark.parametrize("name", OTHERS)
def test_the_shapes_here_are_those_of_our_networks(name):
    with torch.device("meta"):
        network = vitsearch.create_model(name)
    found = {ours: tuple(tensor.shape) for ours, tensor in network.state_dict().items()}
    assert found == our_shapes(name)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_tensor_of_the_authors_is_taken_or_dropped(name):
    given = {n: s for n, s in authors_shapes(name).items() if not n.endswith("batches_tracked")}
    family, takes = takes_of(name, given)
    taken = [theirs for take in takes.values() for theirs in take.names]
    assert set(taken) <= set(given)
    left = set(given) - set(taken)
    assert all(family.is_dropped(theirs, taken) for theirs in left)
    if name == "vit_resnas_tiny":
        assert left == {"patch_head.weight", "patch_head.bias"}
    elif name == "autoformer_tiny":
        assert {theirs.split(".")[1] for theirs in left} == {"13"}
        assert len(left) == 16
    else:
        assert not left
    twice = {theirs for theirs in taken if taken.count(theirs) > 1}
    assert all(name.startswith("vitas") and ".attn.qkv." in theirs for theirs in twice)
    assert family.classifier in taken


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_authors_shapes_are_expected_and_give_ours(name):
    state = {n: t for n, t in authors_state(name).items() if not n.endswith("batches_tracked")}
    family, takes = takes_of(name, state)
    check_given(takes, state, family, "checkpoint")
    like = {ours: torch.empty(shape, device="meta") for ours, shape in shapes_of(name).items()}
    converted = convert(takes, {n: t.to("meta") for n, t in state.items()}, like)
    assert {n: t.shape for n, t in converted.items()} == {n: t.shape for n, t in like.items()}
    if not name.startswith("autoformer"):
        for take in takes.values():
            assert [tuple(state[theirs].shape) for theirs in take.names] == [take.shape]


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - set(CHECKPOINTS)))
def test_networks_without_a_fixture_use_names_like_those_with_one(name):
    sibling = next(n for n in CHECKPOINTS if n.startswith(name.rpartition("_")[0]))
    known = {re.sub(r"\d+", "#", theirs) for theirs in authors_shapes(sibling)}
    _, takes = takes_of(name)
    for ours, take in takes.items():
        assert {re.sub(r"\d+", "#", theirs) for theirs in take.names} <= known
        made = take.make(*(torch.empty(take.shape, device="meta") for _ in take.names))
        assert tuple(made.shape) == our_shapes(name)[ours]


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("vitas_b", "stages.0.blocks.7.norm1.bias", "net.backbone_Block_Block_15.0.norm1.bias"),
        ("vitas_c", "stages.0.blocks.7.norm1.bias", "net.backbone_Block_Block_7.0.norm1.bias"),
        ("vit_resnas_tiny", "stages.0.blocks.4.norm2.bias", "blocks.4.norm2.bias"),
        ("vit_resnas_tiny", "stages.1.transition.norm.bias", "blocks.5.norm.bias"),
        ("vit_resnas_tiny", "stages.1.blocks.0.mixer.proj.bias", "blocks.6.attn.proj.bias"),
        ("vit_resnas_tiny", "stages.2.transition.pos_embed.4x4", "blocks.12.pos_embed"),
        ("vit_resnas_tiny", "stages.2.blocks.4.mlp.fc2.bias", "blocks.17.mlp.fc2.bias"),
        ("vit_resnas_tiny", "stem.norm3.running_var", "patch_embed.conv3.bn.running_var"),
        ("autoformer_tiny", "stages.0.blocks.12.norm2.bias", "blocks.12.ffn_layer_norm.bias"),
        ("glit_tiny", "stages.0.blocks.1.mixer.local.norm.bias", "blocks.1.0.attn.net.4.bias"),
    ],
)
def test_some_names(name, ours, theirs):
    assert takes_of(name)[1][ours].names == (theirs,)


def test_vitas_stem_may_have_another_number():
    theirs = "net.backbone_init_stem_Patch_init_{}.0.patch_embed.proj.weight"
    for given, number in (([], 0), ([theirs.format(1)], 1), ([theirs.format(12)], 12)):
        take = takes_of("vitas_b", given)[1]["stem.embeds.16.weight"]
        assert take.names == (theirs.format(number),)


def scores(q, k, heads, scale):
    q, k = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (q, k))
    return (q @ k.mT * scale).softmax(-1)


def test_vitas_scale_is_folded_into_q():
    heads, third, width = 3, 12, 10  # the authors scale by (10 // 3)^-0.5, we by 4^-0.5
    block = "stages.0.blocks.0.mixer"
    shapes = {
        **{f"{block}.qk.{heads}.weight": (2 * third, width), f"{block}.qk.3.bias": (2 * third,)},
        **{f"{block}.v.shared.weight": (third, width), f"{block}.v.shared.bias": (third,)},
    }
    takes = dict(VITAS.takes(shapes, (), {"authors_tensor_slots": [9]}))
    theirs = "net.backbone_Block_Block_9.0.attn.qkv"
    state = {
        f"{theirs}.weight": torch.randn(3 * third, width, dtype=torch.float64),
        f"{theirs}.bias": torch.randn(3 * third, dtype=torch.float64),
    }
    like = {ours: torch.empty(shape, dtype=torch.float64) for ours, shape in shapes.items()}
    ours = convert(takes, state, like)
    x = torch.randn(7, width, dtype=torch.float64)

    q, k, v = (x @ state[f"{theirs}.weight"].T + state[f"{theirs}.bias"]).chunk(3, -1)
    expected = scores(q, k, heads, (width // heads) ** -0.5)
    our_q, our_k = (x @ ours[f"{block}.qk.3.weight"].T + ours[f"{block}.qk.3.bias"]).chunk(2, -1)
    torch.testing.assert_close(scores(our_q, our_k, heads, (third // heads) ** -0.5), expected)
    our_v = x @ ours[f"{block}.v.shared.weight"].T + ours[f"{block}.v.shared.bias"]
    torch.testing.assert_close(our_v, v)


def test_autoformer_gathers_interleaved_rows_and_a_bias_in_thirds():
    block = "stages.0.blocks.0.mixer"
    shapes = {
        f"{block}.qkv.weight": (3 * 4, 5),
        f"{block}.qkv.bias": (3 * 4,),
        f"{block}.proj.weight": (5, 4),
        f"{block}.relative_keys": (2, 30, 2),
        f"{block}.relative_values": (2, 30, 2),
    }
    takes = dict(AUTOFORMER.takes(shapes, (), {}))
    state = {
        "blocks.0.attn.qkv.weight": torch.arange(24.0 * 6).view(24, 6),
        "blocks.0.attn.qkv.bias": torch.arange(24.0),
        "blocks.0.attn.proj.weight": torch.arange(6.0 * 8).view(6, 8),
    }
    for letter in "kv":
        for table in "vh":
            name = f"blocks.0.attn.rel_pos_embed_{letter}.embeddings_table_{table}"
            state[name] = torch.randn(30, 2)
    check_given(takes, state, AUTOFORMER, "checkpoint")
    made = convert(takes, state, {ours: torch.empty(shape) for ours, shape in shapes.items()})
    rows = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]  # of 8 rows each, q, k and v give their first 4
    weight = state["blocks.0.attn.qkv.weight"]
    assert torch.equal(made[f"{block}.qkv.weight"], weight[rows][:, :5])
    assert made[f"{block}.qkv.bias"].tolist() == list(range(12))
    assert torch.equal(made[f"{block}.proj.weight"], state["blocks.0.attn.proj.weight"][:5, :4])
    for letter, ours in (("k", "keys"), ("v", "values")):
        found, prefix = made[f"{block}.relative_{ours}"], f"blocks.0.attn.rel_pos_embed_{letter}"
        assert torch.equal(found[0], state[f"{prefix}.embeddings_table_v"])
        assert torch.equal(found[1], state[f"{prefix}.embeddings_table_h"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks.12.attn.qkv.weight": (768, 256)}, None),
        ({"blocks.12.attn.qkv.weight": (576, 192)}, None),
        ({"blocks.10.attn.qkv.weight": (576, 192)}, ["(576, 192) for at least (768, 192)"]),
        ({"blocks.0.fc1.weight": (1024, 191)}, ["(1024, 191) for at least (672, 192)"]),
        ({"pos_embed": (1, 257, 256)}, ["pos_embed (1, 257, 256) for at least (1, 197, 192)"]),
        ({"patch_embed_super.proj.weight": (256, 3, 32, 32)}, ["for at least (192, 3, 16, 16)"]),
        ({"norm.weight": (100,)}, ["norm.weight (100,) for at least (192,)"]),
        ({"head.bias": (1001,)}, ["head.bias (1001,) for (1000,)"]),
        ({"blocks.14.fc1.bias": (1024,)}, None),
        ({"blocks.0.fc3.bias": (1024,)}, ["extra: blocks.0.fc3.bias"]),
        ({"blocks.14.fc3.bias": (1024,)}, ["extra: blocks.14.fc3.bias"]),
        ({"blocks.12.fc1.bias": None}, ["missing: blocks.12.fc1.bias"]),
    ],
)
def test_a_supernet_may_be_larger_but_not_smaller(change, words, damaged):
    shapes = {**authors_shapes("autoformer_tiny"), **change}
    state = {n: torch.empty(shape, device="meta") for n, shape in shapes.items() if shape}
    _, takes = takes_of("autoformer_tiny")
    if words is None:
        check_given(takes, state, AUTOFORMER, "checkpoint x")
    else:
        with damaged("checkpoint x does not fit", *words):
            check_given(takes, state, AUTOFORMER, "checkpoint x")
