from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint

import pytest

from vitsearch import SearchSpace, build_space, list_spaces
from vitsearch.spaces import config as spaces_config
from vitsearch.spaces import config_dir
from vitsearch.spaces.config import CONVERTED, ENTRY_POINT_GROUP

FOLDER = config_dir() / "space"
SPACES = sorted({path.stem for path in FOLDER.glob("[!_]*.yaml")} - {CONVERTED})
PARTS = sorted((path.parent.name, path.stem) for path in FOLDER.glob("*/*.yaml"))

OWN_SPACE = """
defaults:
  - stem: patch
  - mixer: glit_demo
  - mlp: glit
  - head: token
  - _self_
name: mine
image_size: 28
in_chans: 1
patch_sizes: [4]
num_blocks: 2
embed_dims: [48]
mixer:
  num_heads: 6
"""


# Shipped files


def test_some_spaces_are_shipped():
    assert {"glit", "glit_tiny", "glit_small", "glit_base"} <= set(SPACES)


@pytest.mark.parametrize("name", SPACES)
def test_every_file_builds(name):
    space = build_space(name)
    assert space.name == name
    assert space.size() > 1
    for architecture in (space.smallest(), space.largest()):
        space.validate(architecture)


@pytest.mark.parametrize(("section", "part"), PARTS)
def test_every_part_builds(section, part):
    host = "vit_resnas" if part.startswith("vit_resnas") else "glit"
    if section == "block" or part in ("resnet", "fpn", "vt_fpn"):
        host = "resnet18"
    if section == "body" or part in ("convs", "searching"):
        host = "hr_nas"
    mixer = {"mixer": "attention"} if section == "tokens" else {}
    space = build_space(host, **mixer, **{section: part, "image_size": 32})
    space.validate(space.largest())


def test_list_spaces_lists_the_files():
    assert list_spaces() == SPACES


def test_glit_tiny_is_the_papers():
    space = build_space("glit_tiny")
    options = {c.name: c.options for c in space.choices}
    assert options["stem.patch_size"] == (16,)
    assert options["stages.0.embed_dim"] == (192,)
    assert len(options) == 2 + 12 * 5
    for slot in range(12):
        block = f"stages.0.blocks.{slot}"
        assert options[f"{block}.global_heads"] == (0, 1, 2, 3)
        assert options[f"{block}.kernel_size"] == (17, 31, 45)
        assert options[f"{block}.local_expansion"] == (1, 2, 4)
        assert options[f"{block}.qkv_expansion"] == (0.5, 1, 2)
        assert options[f"{block}.mlp_ratio"] == (2, 4, 6)


@pytest.mark.parametrize(
    ("name", "width", "heads"),
    [("glit_tiny", 192, 3), ("glit_small", 384, 6), ("glit_base", 768, 12)],
)
def test_sizes_of_the_family(name, width, heads):
    space = build_space(name)
    block = space.plan(space.largest()).stages[0].blocks[0]
    assert block.embed_dim == width
    assert space.stages[0].block.mixer.num_heads == heads
    assert space.stages[0].block.mixer.head_dim == 64


# Overrides


def test_override_by_key():
    space = build_space("glit", num_blocks=2, embed_dims=[24, 48], image_size=32, in_chans=3)
    assert space.size() == 2 * 36**2
    assert (space.image_size, space.in_chans) == (32, 3)


def test_override_by_nested_section_keeps_the_other_settings():
    space = build_space("glit", mlp={"ratios": [2, 3]})
    assert space.choice("stages.0.blocks.0.mlp_ratio").options == (2, 3)
    assert space.choice("stages.0.blocks.0.mlp_ratio").otherwise == 4
    assert space.config["mixer"] == build_space("glit").config["mixer"]


def test_override_by_dotted_path():
    dotted = build_space("glit", **{"mlp.ratios": [2, 3], "mixer.local": "grid"})
    assert dotted == build_space("glit", mlp={"ratios": [2, 3]}, mixer={"local": "grid"})


def test_override_by_part_name():
    space = build_space("glit", mixer="glit")
    assert space.choice("stages.0.blocks.0.kernel_size").options == (17, 31, 45)
    assert build_space("glit", head="avg").head.pool == "avg"


def test_part_name_then_setting_of_that_part():
    space = build_space("glit", mixer="glit", **{"mixer.kernel_sizes": [5]})
    assert space.choice("stages.0.blocks.0.kernel_size").options == (5,)


def test_overrides_leave_the_shipped_space_alone():
    before = build_space("glit")
    build_space("glit", num_blocks=1, mlp={"ratios": [1]})
    assert build_space("glit") == before


def test_one_option_needs_no_list():
    assert build_space("glit", **{"mlp.ratios": 3}).choice(
        "stages.0.blocks.0.mlp_ratio"
    ).options == (3,)


def test_options_are_sorted():
    space = build_space("glit", **{"mlp.ratios": [6, 2, 4]})
    assert space.choice("stages.0.blocks.0.mlp_ratio").options == (2, 4, 6)


def test_grid_form_has_kernels_of_its_own():
    space = build_space("glit", **{"mixer.local": "grid"})
    choice = space.choice("stages.0.blocks.0.kernel_size")
    assert choice.options == (3, 5, 7)
    assert choice.otherwise == 5
    assert space.size() == build_space("glit").size()


def test_settings_of_each_stage():
    space = build_space(
        "glit",
        num_stages=2,
        num_blocks=[1, 2],
        embed_dims=[[48], [48]],
        mlp={"ratios": [[2], [3]]},
    )
    assert [stage.num_blocks for stage in space.stages] == [1, 2]
    assert space.choice("stages.0.embed_dim").options == (48,)
    assert space.choice("stages.1.blocks.1.mlp_ratio").options == (3,)


# Spaces of one's own


def test_own_yaml_file(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(OWN_SPACE)
    space = build_space(str(file))
    assert space.name == "mine"
    assert space.size() == 36**2
    assert space.config["mixer"]["num_heads"] == 6
    assert build_space(str(file), num_blocks=1).size() == 36


def test_own_yaml_file_that_builds_on_another(tmp_path):
    (tmp_path / "base.yaml").write_text(OWN_SPACE)
    file = tmp_path / "child.yaml"
    file.write_text("defaults: [base, _self_]\nname: child\nnum_blocks: 1\n")
    space = build_space(str(file))
    assert (space.name, space.size()) == ("child", 36)


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Offer the names of a module, given as source, as entry points."""

    def make(source: str, **points: str) -> None:
        (tmp_path / "offered_spaces.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        found = [
            EntryPoint(name, f"offered_spaces:{attribute}", ENTRY_POINT_GROUP)
            for name, attribute in points.items()
        ]

        def entry_points(*, group: str) -> list[EntryPoint]:
            assert group == ENTRY_POINT_GROUP
            return found

        monkeypatch.setattr(spaces_config, "entry_points", entry_points)

    yield make
    importlib.invalidate_caches()
    importlib.sys.modules.pop("offered_spaces", None)


SOURCE = """
from vitsearch import build_space
from vitsearch.spaces.config import space_config

SPACE = build_space("glit", num_blocks=2)
MAPPING = {k: v for k, v in space_config("glit").items() if k != "name"}
NUMBER = 3

def function():
    return SPACE

def mapping_function():
    return MAPPING
"""


def test_entry_points_of_every_form(offer):
    offer(
        SOURCE,
        theirs="SPACE",
        by_mapping="MAPPING",
        by_function="function",
        by_mapping_function="mapping_function",
    )
    assert {"theirs", "by_mapping", "by_function", "glit"} <= set(list_spaces())
    assert list_spaces() == sorted(list_spaces())
    assert build_space("theirs").size() == build_space("by_function").size() == 36**2
    assert build_space("by_mapping").name == "by_mapping"
    assert build_space("by_mapping_function").size() == build_space("glit").size()
    assert build_space("theirs", num_blocks=1).size() == 36


@pytest.mark.parametrize("attribute", ["NUMBER", "missing"])
def test_entry_point_that_is_no_space(offer, refused, attribute):
    offer(SOURCE, theirs=attribute)
    with refused("theirs", f"offered_spaces:{attribute}"):
        build_space("theirs")


def test_entry_point_in_a_module_that_fails(offer, refused):
    offer("raise RuntimeError('needs a licence')", theirs="SPACE")
    assert "theirs" in list_spaces()
    with refused("theirs", "needs a licence"):
        build_space("theirs")


def test_shipped_names_win(offer):
    offer(SOURCE, glit="SPACE")
    assert build_space("glit").size() == 36**6


def test_config_is_a_plain_copy():
    space = build_space("glit")
    config = space.config
    config["mixer"]["kernel_sizes"].append(99)
    assert space.config != config
    assert SearchSpace(space.config) == space


def test_a_condition_on_a_choice_that_is_not_there_never_binds() -> None:
    space = build_space("glit", mixer="attention")
    assert all(f"stages.0.blocks.{i}.mlp_ratio" in space.smallest() for i in range(6))
