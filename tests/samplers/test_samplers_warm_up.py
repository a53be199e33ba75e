"""Widths grow from the largest option to all; what is drawn on the way is legal in the space."""

from __future__ import annotations

import random

import pytest

from vitsearch import build_space, list_spaces
from vitsearch.errors import ConfigError
from vitsearch.samplers import BalancedSampler, warm_up_space

SPACES = {name: build_space(name) for name in list_spaces()} | {
    "restricted": build_space("glit").restrict({"*.mlp_ratio": [2, 6]}),
    "identities": build_space("vitas").with_identity_probability(0.7),
}


@pytest.mark.parametrize("name", SPACES)
def test_architectures_of_every_epoch_are_legal_in_the_space(name):
    space, rng = SPACES[name], random.Random(0)
    sizes = []
    for epoch in range(5):
        part = warm_up_space(space, epoch, 4)
        sizes.append(part.size())
        drawn = [part.sample(rng) for _ in range(20)]
        drawn += BalancedSampler().sample(part, num_architectures=4, step=epoch)
        for architecture in [*drawn, part.smallest(), part.largest()]:
            part.validate(architecture)
            space.validate(architecture)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == space.size()


@pytest.mark.parametrize("name", SPACES)
def test_the_whole_space_once_it_is_over(name):
    space = SPACES[name]
    assert warm_up_space(space, 4, 4) is space
    assert warm_up_space(space, 40, 4) is space
    assert warm_up_space(space, 0, 0) is space


@pytest.mark.parametrize("name", ["vit_resnas_tiny", "vitas_small", "autoformer_tiny"])
def test_it_starts_with_the_widest(name):
    space = SPACES[name]
    part = warm_up_space(space, 0, 5)
    widths = ("embed_dim", "num_heads", "qkv_width", "mlp_hidden", "mlp_ratio")
    for choice, whole in zip(part.choices, space.choices, strict=True):
        if choice.name.endswith(widths):
            assert choice.options == whole.options[-1:]
        else:
            assert choice == whole


def test_options_grow_linearly():
    # ViT-ResNAS: 1 + floor(e (n - 1) / warm-up) of n options, the largest first.
    space = SPACES["vit_resnas_tiny"]
    for warm_up in (1, 5, 15):
        for epoch in range(warm_up):
            part = warm_up_space(space, epoch, warm_up)
            for name in ("stages.0.embed_dim", "stages.1.blocks.0.num_heads"):
                options = space.choice(name).options
                count = 1 + epoch * (len(options) - 1) // warm_up
                assert part.choice(name).options == options[len(options) - count :]
    hidden = [
        len(warm_up_space(space, epoch, 5).choice("stages.0.blocks.0.mlp_hidden").options)
        for epoch in range(6)
    ]
    assert hidden == [1, 2, 3, 4, 5, 7]


def test_expansions_of_glit_are_widths():
    part = warm_up_space(build_space("glit_tiny"), 0, 3)
    assert part.choice("stages.0.blocks.2.local_expansion").options == (4,)
    assert part.choice("stages.0.blocks.2.qkv_expansion").options == (2,)
    assert part.choice("stages.0.blocks.2.mlp_ratio").options == (6,)
    assert part.choice("stages.0.blocks.2.global_heads").options == (0, 1, 2, 3)
    assert part.choice("stages.0.blocks.2.kernel_size").options == (17, 31, 45)


@pytest.mark.parametrize(
    "patterns", ["*.mlp_hidden", ["*.mlp_hidden"], ("*.0.mlp_hidden", "*.mlp_hidden")]
)
def test_choices_of_ones_own(patterns):
    space = SPACES["vit_resnas"]
    part = warm_up_space(space, 0, 3, patterns)
    for choice, whole in zip(part.choices, space.choices, strict=True):
        taken = whole.options[-1:] if choice.name.endswith("mlp_hidden") else whole.options
        assert choice.options == taken


def test_weights_go_with_their_options():
    space = SPACES["vitas"]
    part = warm_up_space(space, 1, 4, ["*.depth"])
    assert part.choice("stages.0.depth").options == (5, 6)
    assert part.choice("stages.0.depth").weights == space.choice("stages.0.depth").weights[-2:]


def test_patterns_that_match_nothing_are_refused_at_any_time():
    for epoch in (0, 9):
        with pytest.raises(ConfigError, match=r"glit has no choice \*\.wide") as info:
            warm_up_space(SPACES["glit"], epoch, 4, ["*.mlp_ratio", "*.wide"])
        assert "warm_up_choices" in str(info.value)


@pytest.mark.parametrize("epochs", [-1, 1.5, "3", None])
def test_epochs_out_of_range(epochs):
    with pytest.raises(ConfigError, match=f"warm_up_epochs={epochs} must be a whole number"):
        warm_up_space(SPACES["glit"], 0, epochs)
