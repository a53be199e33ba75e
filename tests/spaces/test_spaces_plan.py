"""Sizes as section 4.1 of GLiT has them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import random

import pytest

from vitsearch import Architecture, build_space
from vitsearch.spaces import Choice, Condition

BLOCK = "stages.0.blocks.0"


def block_plan(space, **genes):
    full = {choice.name: choice.options[0] for choice in space.choices}
    full.update({f"{BLOCK}.{name}": value for name, value in genes.items()})
    return space.plan(space.canonical(full)).stages[0].blocks[0]


@pytest.mark.parametrize("thirds", [0, 1, 2, 3])
def test_channels_and_heads_are_split_in_thirds(thirds, glit_tiny):
    mixer = block_plan(glit_tiny, global_heads=thirds).mixer
    assert mixer.global_dim == 64 * thirds
    assert mixer.local_dim == 192 - 64 * thirds
    assert mixer.num_heads == thirds
    assert mixer.num_tokens == 197


def test_only_fully_global_blocks_choose_their_head_dimension(glit_tiny):
    for expansion, head_dim in ((0.5, 32), (1, 64), (2, 128)):
        mixer = block_plan(glit_tiny, global_heads=3, qkv_expansion=expansion).mixer
        assert mixer.head_dim == head_dim
        assert (mixer.local_dim, mixer.local_inner, mixer.kernel_size) == (0, 0, 0)
        assert block_plan(glit_tiny, global_heads=2, qkv_expansion=expansion).mixer.head_dim == 64


def test_only_fully_local_blocks_choose_their_kernel(glit_tiny):
    for kernel in (17, 31, 45):
        mixer = block_plan(glit_tiny, global_heads=0, kernel_size=kernel).mixer
        assert mixer.kernel_size == kernel
        assert (mixer.global_dim, mixer.num_heads, mixer.head_dim) == (0, 0, 0)
        assert block_plan(glit_tiny, global_heads=1, kernel_size=kernel).mixer.kernel_size == 31


@pytest.mark.parametrize("expansion", [1, 2, 4])
def test_local_expansion(expansion, glit_tiny):
    assert block_plan(glit_tiny, global_heads=1, local_expansion=expansion).mixer.local_inner == (
        128 * expansion
    )


def test_only_blocks_with_global_heads_choose_their_mlp(glit_tiny):
    for ratio in (2, 4, 6):
        assert block_plan(glit_tiny, global_heads=0, mlp_ratio=ratio).mlp.hidden_dim == 4 * 192
        for thirds in (1, 2, 3):
            plan = block_plan(glit_tiny, global_heads=thirds, mlp_ratio=ratio)
            assert plan.mlp.hidden_dim == ratio * 192


def test_frame(glit_tiny):
    plan = glit_tiny.plan(glit_tiny.largest())
    assert (plan.image_size, plan.in_chans) == (224, 3)
    assert (plan.stem.patch_size, plan.stem.grid, plan.stem.embed_dim) == (16, (14, 14), 192)
    assert list(plan.stages[0].slots) == list(range(12))
    assert plan.head.pool == "token"
    assert plan.nodes[-1].plan.norm_eps == plan.stages[0].blocks[0].norm_eps == 1e-6
    assert plan.stages[0].transition is None


def test_plans_are_values(glit):
    architecture = glit.sample(random.Random(0))
    plan = glit.plan(architecture)
    assert plan == glit.plan(architecture)
    assert hash(plan) == hash(glit.plan(architecture))
    assert plan.renumbered() == plan  # no slot is ever skipped in this family
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.image_size = 3


def test_hidden_channels():
    space = build_space("glit", num_blocks=1, mlp="mlp", **{"mlp.ratios": None, "mlp.hidden": [32]})
    assert space.plan(space.largest()).stages[0].blocks[0].mlp.hidden_dim == 32


def test_condition_on_a_name_that_is_not_there_never_binds():
    choice = Choice(name="a", options=(1, 2), active_when=(Condition("b", (3,)),))
    assert choice.is_active({})
    assert choice.is_active({"b": 3})
    assert not choice.is_active({"b": None})
    moved = choice.under("x", also=(Condition("c", (1,)),))
    assert moved.name == "x.a"
    assert [str(c) for c in moved.active_when] == ["c in 1", "x.b in 3"]


def test_weights_steer_sampling_and_survive_limits():
    choice = Choice(name="a", options=(1, 2, 3), weights=(0, 1, 3)).limited_to([1, 3])
    assert (choice.options, choice.weights) == ((1, 3), (0, 3))


def test_plans_are_kept_but_not_for_ever(monkeypatch):
    monkeypatch.setattr("vitsearch.spaces.space._MOST_PLANS", 3)
    space = build_space("glit", num_blocks=2)
    drawn = [space.sample(random.Random(seed)) for seed in range(4)]
    first = space.plan(drawn[0])
    assert space.plan(Architecture(drawn[0].to_dict())) is first
    plans = [space.plan(architecture) for architecture in drawn]
    assert plans[0] is first
    again = space.plan(drawn[0])  # the oldest made room
    assert again == first
    assert again is not first
    assert copy.deepcopy(space).plan(drawn[3]) == plans[3]
    assert len(pickle.dumps(space)) == len(pickle.dumps(copy.deepcopy(space)))


def test_equal_pieces_of_plans_are_one():
    space = build_space("vitas")
    found = {}
    for seed in range(50):
        for stage in space.plan(space.sample(random.Random(seed))).stages:
            for block in stage.blocks:
                for piece in (block.mixer, block.mlp):
                    assert found.setdefault(piece, piece) is piece
