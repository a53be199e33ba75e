from __future__ import annotations

import copy
import pickle
import random

import pytest

from vitsearch import SearchSpace, build_space

BLOCK = "stages.0.blocks.0"


def test_single_option(glit):
    space = glit.restrict({f"{BLOCK}.mlp_ratio": 4})
    assert space.choice(f"{BLOCK}.mlp_ratio").options == (4,)
    assert space.choice("stages.0.blocks.1.mlp_ratio").options == (2, 4, 6)
    assert glit.choice(f"{BLOCK}.mlp_ratio").options == (2, 4, 6)


@pytest.mark.parametrize("several", [[6, 2], (6, 2), {6, 2}], ids=["list", "tuple", "set"])
def test_several_options_in_the_order_of_the_space(several, glit):
    space = glit.restrict({f"{BLOCK}.mlp_ratio": several})
    assert space.choice(f"{BLOCK}.mlp_ratio").options == (2, 6)


def test_patterns(glit):
    space = glit.restrict({"*.kernel_size": 15, "stages.0.blocks.[01].global_heads": [0, 1]})
    for slot in range(6):
        block = f"stages.0.blocks.{slot}"
        assert space.choice(f"{block}.kernel_size").options == (15,)
        assert space.choice(f"{block}.global_heads").options == (
            (0, 1) if slot < 2 else (0, 1, 2, 3)
        )


def test_later_names_win(glit):
    space = glit.restrict({"*.mlp_ratio": 2, f"{BLOCK}.mlp_ratio": [4, 6]})
    assert space.choice(f"{BLOCK}.mlp_ratio").options == (4, 6)
    assert space.choice("stages.0.blocks.1.mlp_ratio").options == (2,)


def test_whole_numbers_as_broken_ones(glit):
    assert glit.restrict({"*.mlp_ratio": 4.0}) == glit.restrict({"*.mlp_ratio": 4})


def test_an_architecture_leaves_nothing_to_choose(glit):
    rng = random.Random(0)
    for _ in range(20):
        architecture = glit.sample(rng)
        space = glit.restrict(architecture)
        assert space.size() == 1
        assert space.sample(rng) == space.smallest() == space.largest() == architecture
        assert space.mutate(architecture, 1.0, rng) == architecture
        assert space.plan(architecture) == glit.plan(architecture)


def test_restricting_in_steps_is_restricting_at_once(glit):
    at_once = glit.restrict({"*.mlp_ratio": [2, 4], "*.global_heads": [0, 3]})
    in_steps = glit.restrict({"*.global_heads": [0, 3]}).restrict({"*.mlp_ratio": [2, 4]})
    assert in_steps == at_once
    again = glit.restrict({"*.mlp_ratio": [2, 4]}).restrict({f"{BLOCK}.mlp_ratio": 2})
    assert again.choice(f"{BLOCK}.mlp_ratio").options == (2,)
    assert again.choice("stages.0.blocks.1.mlp_ratio").options == (2, 4)


def test_nothing_to_restrict(glit):
    assert glit.restrict({}).size() == glit.size()


def test_architectures_of_the_part_are_legal_in_the_whole(glit):
    part, rng = glit.restrict({"*.global_heads": [0, 3], "*.mlp_ratio": [2, 6]}), random.Random(0)
    for _ in range(50):
        architecture = part.sample(rng)
        glit.validate(architecture)
        assert glit.plan(architecture) == part.plan(architecture)


def test_restrict_in_a_configuration(glit):
    space = build_space("glit", restrict={"*.mlp_ratio": [4], "*.kernel_size": 15})
    assert space.size() == glit.restrict({"*.mlp_ratio": 4, "*.kernel_size": 15}).size()
    assert space.restrict({"*.mlp_ratio": 4}).choice(f"{BLOCK}.mlp_ratio").options == (4,)


def spaces():
    glit = build_space("glit")
    return {
        "plain": glit,
        "tiny": build_space("glit_tiny"),
        "grid": build_space("glit", **{"mixer.local": "grid"}),
        "restricted": glit.restrict({"*.mlp_ratio": [2, 4]}),
        "fixed": glit.restrict(glit.smallest()),
        "resized": glit.resized(image_size=32, in_chans=3),
        "restricted and resized": glit.restrict({"*.global_heads": 0}).resized(image_size=32),
    }


@pytest.mark.parametrize("name", spaces())
def test_configuration_is_the_space(name):
    space = spaces()[name]
    for same in (
        SearchSpace(space.config),
        SearchSpace(SearchSpace(space.config).config),
        pickle.loads(pickle.dumps(space)),
        copy.deepcopy(space),
    ):
        assert same == space
        assert hash(same) == hash(space)
        assert same.choices == space.choices
        assert same.size() == space.size()
        assert same.largest() == space.largest()


def test_different_spaces_differ():
    different = list(spaces().values())
    assert len(set(different)) == len(different)
    assert different[0] != "glit"


def test_resized(glit, glit_tiny):
    space = glit.resized(image_size=32)
    assert (space.image_size, space.in_chans) == (32, 1)
    assert glit.resized(in_chans=3).in_chans == 3
    assert glit.resized() == glit
    assert glit.image_size == 28
    architecture = glit.sample(random.Random(0))
    space.validate(architecture)
    assert space.plan(architecture).stages[0].grid == (8, 8)
    assert glit_tiny.resized(image_size=32).plan(glit_tiny.largest()).stages[0].grid == (2, 2)
