"""timm's `beit.py`: a table of relative positions in each block, a column for each head."""

from __future__ import annotations

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
from timm.models.beit import Beit

import vitsearch
from vitsearch import Architecture, SearchSpace
from vitsearch.errors import CheckpointError, SpaceError
from vitsearch.supernet.converting.from_timm import timm_space_config
from vitsearch.supernet.timm.resample import resample_positions

VARIATIONS = {
    "as named": {},
    "class token, norm before": {"global_pool": "token"},
    "positions, no table": {"use_abs_pos_emb": True, "use_rel_pos_bias": False},
    "positions and table, no LayerScale": {"use_abs_pos_emb": True, "init_values": None},
    "no biases, SwiGLU, norm of hidden units": {
        "qkv_bias": False,
        "swiglu_mlp": True,
        "scale_mlp": True,
    },
}
TABLE = "stages.0.blocks.1.attn.relative_position_bias_table"
each_variation = pytest.mark.parametrize("key", VARIATIONS)


def variation(key, dtype=torch.float64):
    return create("beit_base_patch16_224", dtype, **VARIATIONS[key])


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
def test_every_name_converts():
    names = timm.list_models(module="beit")
    assert len(names) >= 7
    for name in names:
        assert timm_space_config(name)["mixer"]["kind"] == "beit_attention"


def test_columns_of_the_table_belong_to_their_heads():
    network = variation("as named")
    supernet = vitsearch.from_timm(network)
    fewer = {**supernet.largest.to_dict(), "stages.0.blocks.1.num_heads": 2}
    taken = supernet.extract(Architecture.from_dict(fewer))
    table = network.blocks[1].attn.relative_position_bias_table
    assert torch.equal(taken.state_dict()[TABLE], table[:, :2])
    assert TABLE in supernet.no_weight_decay()


@pytest.mark.parametrize("side", [32, 80])
def test_tables_of_other_image_sizes_are_those_of_timm(side):
    network = variation("positions and table, no LayerScale")
    other = vitsearch.from_timm(network, img_size=side)
    supernet = vitsearch.from_timm(network)
    taken = supernet.extract(supernet.largest)
    taken.set_input_size(side)
    network.set_input_size((side, side))
    x = images(network)
    with torch.no_grad():
        logits = network(x)
        assert (other(x) - logits).abs().max() < 1e-10
        assert (taken(x) - logits).abs().max() < 1e-10
    assert taken.state_dict()[TABLE].requires_grad is False
    assert dict(taken.named_parameters())[TABLE].requires_grad


def test_a_table_of_no_square_grid_is_refused():
    supernet = vitsearch.from_timm(variation("as named"))
    state = {**supernet.state_dict(), TABLE: torch.zeros(20, 3)}
    with pytest.raises(CheckpointError, match="is no table of relative positions"):
        resample_positions(state, supernet)


def test_a_table_that_blocks_share_is_refused():
    network = create("beit_base_patch16_224", use_shared_rel_pos_bias=True)
    with pytest.raises(SpaceError, match="rel_pos_bias: a table of relative positions that blocks"):
        vitsearch.from_timm(network)


def test_a_table_of_another_grid_is_refused():
    network = noisy(Beit(16, 8, embed_dim=16, depth=1, num_heads=2, use_rel_pos_bias=True))
    network.blocks[0].attn.set_window_size((3, 3))
    with pytest.raises(SpaceError, match=r"blocks.0.attn: its table is for a grid of \(3, 3\)"):
        vitsearch.from_timm(network)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch_sizes": [8, 16], "stem": {"kind": "patch"}}, "table for one grid of patches"),
        ({"stem": {"kind": "vit", "registers": 2}}, "needs a class token and no other token"),
        (
            {"stem": {"kind": "vit", "class_token": False}},
            "needs a class token and no other token",
        ),
    ],
)
def test_spaces_that_a_table_does_not_fit(change, words):
    config = vitsearch.from_timm(variation("as named")).space.config
    with pytest.raises(SpaceError) as caught:
        SearchSpace({**config, **change})
    assert words in str(caught.value)
