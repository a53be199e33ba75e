from __future__ import annotations

import math

import pytest

from vitsearch import Architecture, SearchSpace, build_space, published

BLOCK = "stages.0.blocks.0"

BAD_SETTINGS = {
    "unknown key": (
        {"num_block": 3},
        ["num_block", "did you mean num_blocks", "legal", "image_size"],
    ),
    "unknown key of a part": ({"mixer.kernels": [3]}, ["space.mixer.kernels", "kernel_sizes"]),
    "unknown section": ({"attention.heads": 3}, ["space.attention", "mixer"]),
    "unknown kind": ({"mixer.kind": "vim"}, ["space.mixer.kind=vim", "legal", "glit"]),
    "unknown part": ({"mixer": "nat"}, ["space/mixer=nat", "legal", "glit_demo"]),
    "part that is a number": ({"mlp": 4}, ["space.mlp", "mlp", "4"]),
    "no stem": ({"stem": None}, ["space.stem", "patch", "None"]),
    "unknown word": ({"mixer.local": "plane"}, ["space.mixer.local=plane", "sequence, grid"]),
    "unknown pool": ({"head.pool": "median"}, ["space.head.pool=median", "token, avg"]),
    "number in quotes": ({"num_blocks": "six"}, ["space.num_blocks=six", "whole number"]),
    "zero": ({"num_blocks": 0}, ["space.num_blocks=0", "1 or more"]),
    "fraction": ({"image_size": 28.5}, ["space.image_size=28.5", "whole number"]),
    "truth value": ({"in_chans": True}, ["space.in_chans=True", "whole number"]),
    "missing value": ({"image_size": None}, ["space.image_size=None"]),
    "no stages": ({"num_stages": 0}, ["space.num_stages=0", "1 or more"]),
    "word among options": ({"mlp.ratios": [2, "four"]}, ["space.mlp.ratios", "'four'", "above 0"]),
    "negative option": ({"mlp.ratios": [-2]}, ["space.mlp.ratios=[-2]", "above 0"]),
    "fraction of channels": ({"embed_dims": [48.5]}, ["space.embed_dims=[48.5]", "whole numbers"]),
    "empty list": ({"mlp.ratios": []}, ["space.mlp.ratios", "empty", "at least one"]),
    "option twice": ({"mlp.ratios": [2, 4, 4.0]}, ["space.mlp.ratios=[2, 4, 4.0]", "twice"]),
    "patch does not divide": (
        {"image_size": 30},
        ["patch_size 4", "image_size 30", "multiple of 4"],
    ),
    "one of two patches": (
        {"patch_sizes": [4, 5]},
        ["patch_size 5", "image_size 28", "multiple of 4, 5"],
    ),
    "even kernel": ({"mixer.kernel_sizes": [3, 8]}, ["kernel size 8", "odd"]),
    "even default kernel": ({"mixer.default_kernel_size": 6}, ["kernel size 6", "odd"]),
    "even kernel on the grid": (
        {"mixer.local": "grid", "mixer.grid_kernel_sizes": [4]},
        ["kernel size 4", "odd"],
    ),
    "four thirds": ({"mixer.global_heads": [0, 4]}, ["global_heads=[0, 4]", "0, 1, 2, 3"]),
    "heads not in thirds": ({"mixer.num_heads": 4}, ["space.mixer.num_heads=4", "multiple of 3"]),
    "too few heads": ({"mixer.num_heads": 0}, ["space.mixer.num_heads=0", "3 or more"]),
    "no heads": (
        {"mixer": "attention", "mixer.num_heads": [0, 3]},
        ["space.mixer.num_heads=[0, 3]", "above 0"],
    ),
    "setting of another mixer": (
        {"mixer": "attention", "mixer.local": "grid"},
        ["space.mixer.local", "legal: head_dim, num_heads"],
    ),
    "part of a channel": (
        {"mixer.head_dim": 5, "mixer.qkv_expansions": [0.5, 1]},
        ["qkv_expansions=[0.5, 1]", "0.5 x head_dim 5"],
    ),
    "both widths": ({"mlp.hidden": [96]}, ["space.mlp", "ratios", "hidden"]),
    "neither width": ({"mlp.ratios": None}, ["space.mlp", "ratios", "hidden"]),
    "stages miscounted": (
        {"num_stages": 2, "num_blocks": [1, 2, 3]},
        ["space.num_blocks", "3 values for 2 stages", "[1, 2, 3]"],
    ),
    "option lists miscounted": (
        {"num_stages": 2, "embed_dims": [[48]]},
        ["space.embed_dims", "1 values for 2 stages", "[[48]]"],
    ),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_setting(case, refused):
    overrides, words = BAD_SETTINGS[case]
    with refused(*words):
        build_space("glit", **overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"mixer.kind": ["glit"]}, ["space.mixer.kind", "glit"]),
        ({"mlp.ratios": [math.nan]}, ["space.mlp.ratios"]),
        ({"mlp.ratios": [math.inf]}, ["space.mlp.ratios"]),
        ({"norm_eps": math.nan}, ["space.norm_eps"]),
        ({"mlp.ratios": [0.001]}, ["space.mlp.ratios", "0.001"]),
        ({"mixer.local_expansions": [0.001]}, ["space.mixer.local_expansions", "0.001"]),
        ({"restrict": 5}, ["space.restrict"]),
        ({"num_stages": 2, "embed_dims": [[48], [96]]}, ["embed_dim"]),
    ],
    ids=["kind list", "nan", "infinite", "nan eps", "no hidden", "no inner", "restrict", "widths"],
)
def test_bad_setting_of_a_rare_kind(overrides, words, refused):
    with refused(*words):
        build_space("glit", **overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        {"mlp.ratios.first": 3},
        {"image_size": object()},
        {"embed_dims": {24, 48}},
        {"image_size": "${nowhere}"},
    ],
    ids=["path into a list", "object", "set", "interpolation"],
)
def test_override_that_is_no_setting(overrides, refused):
    with refused(next(iter(overrides)).split(".")[0]):
        build_space("glit", **overrides)


@pytest.mark.parametrize(
    "text",
    ["num_blocks: [1\nname: }", "a: 1\na: 2\n", "defaults: [nowhere]\n", "defaults: [3]\n"],
    ids=["syntax", "key twice", "unknown base", "number as base"],
)
def test_broken_file(text, refused, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with refused(file):
        build_space(str(file))


def test_missing_key(refused):
    config = build_space("glit").config
    for key in ("image_size", "num_blocks", "embed_dims"):
        with refused(f"space.{key} is missing"):
            SearchSpace({k: v for k, v in config.items() if k != key})


def test_unknown_space_names_the_nearest_and_all(refused):
    with refused("glit_tinny", "did you mean glit_tiny?", "glit_base", "glit_small"):
        build_space("glit_tinny")
    with refused("zzz", "glit_base, glit_small, glit_tiny"):
        build_space("zzz")


def test_missing_and_empty_files(refused, tmp_path):
    with refused("nowhere.yaml", "does not exist"):
        build_space("nowhere.yaml")
    file = tmp_path / "list.yaml"
    file.write_text("[1, 2]")
    with refused(file, "settings by name"):
        build_space(str(file))
    file.write_text("")
    with refused("space.image_size is missing"):
        build_space(str(file))
    file.write_text("defaults: [{mixer: nowhere}]\n")
    with refused("space/mixer=nowhere", "glit_demo"):
        build_space(str(file))


def test_unknown_published(refused):
    with refused("glit_huge", "glit_tiny"):
        published("glit_huge")


# Architectures and choices


def test_unknown_choice_names_the_nearest(glit, refused):
    with refused(f"{BLOCK}.mlp_rato", f"did you mean {BLOCK}.mlp_ratio?"):
        glit.choice(f"{BLOCK}.mlp_rato")
    with refused("glit", "depth"):
        glit.canonical({**glit.largest(), "depth": 3})


def test_illegal_value(glit, refused):
    full = {choice.name: choice.options[-1] for choice in glit.choices}
    values = {**glit.canonical(full), f"{BLOCK}.mlp_ratio": 5}
    with refused(f"{BLOCK}.mlp_ratio=5", "options: 2, 4, 6", "glit"):
        glit.validate(Architecture(values))
    with refused(f"{BLOCK}.mlp_ratio=6.5", "2, 4, 6"):
        glit.plan(Architecture({**values, f"{BLOCK}.mlp_ratio": 6.5}))


def test_missing_value(glit, refused):
    values = glit.largest().to_dict()
    del values["stem.patch_size"]
    with refused("stem.patch_size is missing", "options: 4"):
        glit.validate(Architecture(values))


def test_inactive_value(glit, refused):
    values = glit.largest().to_dict()
    values.update({f"{BLOCK}.global_heads": 3, f"{BLOCK}.local_expansion": 4})
    values.update({f"{BLOCK}.qkv_expansion": 1, f"{BLOCK}.mlp_ratio": 2, f"{BLOCK}.kernel_size": 9})
    with refused("is not active", "needs", f"{BLOCK}.global_heads in 0"):
        glit.validate(Architecture(values))
    assert glit.canonical(values)[f"{BLOCK}.mlp_ratio"] == 2


@pytest.mark.parametrize("text", ['{"a": ', "[1]", '"word"', "3", '{"a": null}', '{"a": [1]}'])
def test_from_json_of_something_else(text, refused):
    with refused("architecture"):
        Architecture.from_json(text)


@pytest.mark.parametrize("values", [{3: 4}, {"a": None}, {"a": (1, 2)}])
def test_from_dict_of_something_else(values, refused):
    with refused("numbers or strings"):
        Architecture.from_dict(values)


# Restricting and resizing


def test_restrict_errors(glit, refused):
    with refused("kernel_sizes", "glit"):
        glit.restrict({"*.kernel_sizes": 9})
    with refused("cannot restrict", f"{BLOCK}.mlp_ratio", "to 5", "options: 2, 4, 6"):
        glit.restrict({f"{BLOCK}.mlp_ratio": 5})
    with refused("cannot restrict", "to 3, 5", "2, 4, 6"):
        glit.restrict({f"{BLOCK}.mlp_ratio": [2, 3, 5]})
    with refused("cannot restrict", "to nothing", "2, 4, 6"):
        glit.restrict({f"{BLOCK}.mlp_ratio": []})
    with refused(f"{BLOCK}.mlp_ratio to 4", "options: 2"):
        glit.restrict({"*.mlp_ratio": 2}).restrict({"*.mlp_ratio": 4})


@pytest.mark.parametrize("value", [None, [[2, 4]], object()], ids=["none", "nested", "object"])
def test_restrict_to_no_option(value, glit, refused):
    with refused(f"{BLOCK}.mlp_ratio"):
        glit.restrict({f"{BLOCK}.mlp_ratio": value})


def test_restrict_to_an_architecture_of_another_space(glit, glit_tiny, refused):
    with refused("glit", "stages.0.blocks.6.global_heads"):
        glit.restrict(glit_tiny.largest())


def test_resized_to_an_impossible_size(glit, refused):
    with refused("patch_size 4", "image_size 30"):
        glit.resized(image_size=30)
    with refused("space.in_chans=0"):
        glit.resized(in_chans=0)
