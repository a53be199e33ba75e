"""One line for parts that do not fit together, and for settings of the newer parts."""

from __future__ import annotations

import math

import pytest

from vitsearch import SearchSpace, build_space

BAD = {
    "a stage that could be narrower": (
        "vit_resnas",
        {"embed_dims": [[32, 48], [40, 64], [96]]},
        ["space.embed_dims=[[32, 48], [40, 64], [96]]", "stage 1", "(40)", "stage 0 (48)"],
    ),
    "a later stage that could be narrower": (
        "vit_resnas",
        {"embed_dims": [[32], [64, 80], [72]]},
        ["stage 2 could be narrower (72) than stage 1 (80)"],
    ),
    "stages of different widths without transition": (
        "glit",
        {"num_stages": 2, "embed_dims": [[48], [96]]},
        ["space.embed_dims=[[48], [96]]", "without a transition", "add space/transition=reduction"],
    ),
    "stages of several widths without transition": (
        "glit",
        {"num_stages": 2, "embed_dims": [24, 48]},
        ["space.embed_dims=[[24, 48], [24, 48]]", "one and the same embed_dim"],
    ),
    "depths and skippable": (
        "vit_resnas",
        {"num_blocks": 3, "depths": [2, 3]},
        ["space.skippable and space.depths", "one of the two"],
    ),
    "identities and skippable": (
        "vitas",
        {"skippable": [1]},
        ["space.skippable", "identity_probability", "one of the two"],
    ),
    "depths and identities": (
        "vitas",
        {"depths": [3, 6]},
        ["either depths or identity_probability"],
    ),
    "depths that stop early": (
        "autoformer",
        {"depths": [4, 5]},
        ["space.depths=[4, 5]", "all 6 blocks", "space.num_blocks"],
    ),
    "depths beyond the slots": (
        "autoformer",
        {"depths": [4, 7]},
        ["space.depths=[4, 7]", "all 6 blocks"],
    ),
    "negative depth": ("autoformer", {"depths": [-1, 6]}, ["space.depths=[-1, 6]", "-1"]),
    "odd patch with a conv stem": (
        "vit_resnas",
        {"patch_sizes": [4, 7]},
        ["space.patch_sizes=[4, 7]", "must be even, not 7"],
    ),
    "odd patch of the stem's own": (
        "vit_resnas",
        {"stem.patch_sizes": [7]},
        ["patch_sizes=[7]", "must be even, not 7"],
    ),
    "skippable slot out of range": (
        "vit_resnas",
        {"skippable": [1, 2]},
        ["space.skippable=[1, 2]", "2 slots, counted from 0"],
    ),
    "negative skippable slot": (
        "vit_resnas",
        {"skippable": [-1]},
        ["space.skippable=[-1]", "-1"],
    ),
    "skippable twice": ("vit_resnas", {"skippable": [1, 1]}, ["space.skippable", "twice"]),
    "skippable word": ("vit_resnas", {"skippable": ["last"]}, ["space.skippable", "'last'"]),
    "skippable miscounted": (
        "vit_resnas",
        {"skippable": [[1], [1]]},
        ["space.skippable", "2 values for 3 stages"],
    ),
    "widths that do not divide by heads": (
        "vitas",
        {"mixer.qkv_widths": [36, 60], "mixer.num_heads": [2, 3]},
        ["space.mixer.qkv_widths=[36, 60]", "a third of 60", "3 heads", "[2, 3]"],
    ),
    "widths that do not divide by three": (
        "vitas",
        {"mixer.num_heads": [1], "mixer.qkv_widths": [40]},
        ["a third of 40", "1 heads"],
    ),
    "unknown privacy": (
        "vitas",
        {"mixer.private": "kv"},
        ["space.mixer.private=kv", "legal: none, v, qk"],
    ),
    "identity probability of 1": (
        "vitas",
        {"identity_probability": 1},
        ["space.identity_probability=1", "below 1"],
    ),
    "identity probability above 1": (
        "vitas",
        {"identity_probability": 1.5},
        ["space.identity_probability=1.5", "below 1"],
    ),
    "identity probability of 0": (
        "vitas",
        {"identity_probability": 0},
        ["space.identity_probability=0", "above 0"],
    ),
    "identity probability that is no number": (
        "vitas",
        {"identity_probability": "half"},
        ["space.identity_probability=half"],
    ),
    "unknown transition": (
        "vit_resnas",
        {"transition": {"kind": "merging"}},
        ["space.transition.kind=merging", "legal: none, reduction"],
    ),
    "unknown transition part": (
        "vit_resnas",
        {"transition": "merging"},
        ["space/transition=merging", "legal: none, reduction"],
    ),
    "transition without a kind": (
        "vit_resnas",
        {"transition": {"kind": None}},
        ["space.transition.kind=None", "reduction"],
    ),
    "transition that is a number": ("vit_resnas", {"transition": 3}, ["space.transition", "3"]),
    "unknown setting of a transition": (
        "vit_resnas",
        {"transition.stride": 2},
        ["space.transition.stride", "legal: norm_eps"],
    ),
    "nothing left to halve": (
        "vit_resnas",
        {"image_size": 8, "patch_sizes": [4]},
        ["a reduction needs more than one patch"],
    ),
    "nothing left to halve for one patch size": (
        "vit_resnas",
        {"patch_sizes": [4, 14]},
        ["a reduction needs more than one patch"],
    ),
    "ratios and hidden": (
        "vitas",
        {"mlp.ratios": [2, 4]},
        ["space.mlp takes either ratios", "or hidden"],
    ),
    "no hidden channels": ("vitas", {"mlp.hidden": [0, 4]}, ["space.mlp.hidden=[0, 4]", "above 0"]),
    "no patch sizes": ("autoformer", {"patch_sizes": None}, ["space.patch_sizes is missing"]),
    "no middle channels": ("vit_resnas", {"stem.mid_chans": 0}, ["space.stem.mid_chans=0"]),
    "no distance": (
        "autoformer",
        {"mixer.max_distance": 0},
        ["space.mixer.max_distance=0", "1 or more"],
    ),
    "distillation that is no truth value": (
        "vit_resnas",
        {"head.distillation": 1},
        ["space.head.distillation=1", "true or false"],
    ),
    "heads of another number of stages": (
        "vit_resnas",
        {"mixer.num_heads": [[2], [3]]},
        ["space.mixer.num_heads", "2 values for 3 stages"],
    ),
    "patches of another image": (
        "vitas",
        {"image_size": 28},
        ["patch_size 8 does not divide image_size 28"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_composition(case, refused):
    base, overrides, words = BAD[case]
    with refused(*words):
        build_space(base, **overrides)


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.01, math.nan, "0.2", True])
def test_identity_probability_later_on(probability, refused):
    with refused("identity_probability"):
        build_space("vitas").with_identity_probability(probability)


def test_identity_probability_without_identities(refused):
    with refused("vit_resnas", "identity_probability"):
        build_space("vit_resnas").with_identity_probability(0.2)
    with refused("vitas_base", "identity_probability"):
        build_space("vitas_base").with_identity_probability(0.2)


def test_resized_to_too_few_patches(refused):
    with refused("a reduction needs more than one patch"):
        build_space("vit_resnas").resized(image_size=4)
    with refused("patch_size 8", "image_size 28"):
        build_space("vitas").resized(image_size=28)


def test_illegal_architectures(refused):
    space = build_space("autoformer")
    values = {**space.smallest(), "stages.0.blocks.5.num_heads": 2}
    with refused("stages.0.blocks.5.num_heads=2 is not active", "stages.0.depth in 6"):
        space.validate(values)
    with refused("stages.0.depth=3", "options: 4, 5, 6"):
        space.canonical({**space.smallest(), "stages.0.depth": 3})
    space = build_space("vit_resnas")
    values = {**space.smallest(), "stages.0.blocks.1.mlp_hidden": 64}
    with refused("stages.0.blocks.1.mlp_hidden=64 is not active", "stages.0.blocks.1.keep in True"):
        space.validate(values)


@pytest.mark.parametrize(
    "change",
    [{"depths": "all"}, {"skippable": 1.5}, {"patch_sizes": {}}, {"stem": []}, {"transition": []}],
    ids=str,
)
def test_settings_of_another_kind(change, refused):
    with refused(next(iter(change))):
        SearchSpace({**build_space("vit_resnas").config, **change})
