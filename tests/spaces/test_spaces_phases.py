from __future__ import annotations

import random

import pytest

from vitsearch import build_space
from vitsearch.spaces.phases import Phase, phase_space, read_phases, shared_space

GLIT = read_phases(
    [
        {"name": "heads", "free": "*.global_heads", "hold": {"*.local_expansion": 1}},
        {
            "name": "details",
            "free": ["*.kernel_size", "*.local_expansion", "*.qkv_expansion", "*.mlp_ratio"],
        },
    ]
)


def test_the_two_levels_of_glit():
    space = build_space("glit_tiny")
    first = phase_space(space, GLIT[0])
    assert first.size() == 4**12
    plan = first.plan(first.sample(random.Random(0)))
    for block in plan.stages[0].blocks:
        assert block.mixer.kernel_size in (0, 31)
        assert block.mixer.local_inner == block.mixer.local_dim
        assert block.mlp.hidden_dim == 4 * 192
    found = first.sample(random.Random(1))
    space.validate(found)
    second = phase_space(space, GLIT[1], found)
    for slot in range(12):
        name = f"stages.0.blocks.{slot}.global_heads"
        assert second.choice(name).options == (found[name],)
    assert second.size() == _details(found)
    space.validate(second.sample(random.Random(2)))


def _details(found) -> int:
    options = {0: 9, 1: 9, 2: 9, 3: 9}
    size = 1
    for slot in range(12):
        size *= options[found[f"stages.0.blocks.{slot}.global_heads"]]
    return size


def test_a_supernet_for_both_phases():
    space = build_space("glit")
    shared = shared_space(space, GLIT)
    assert shared.size() == space.size()
    found = phase_space(space, GLIT[0]).sample(random.Random(0))
    shared.validate(found)
    shared.validate(phase_space(space, GLIT[1], found).sample(random.Random(1)))


def test_nothing_says_what_to_hold(refused):
    with refused("phase heads", "local_expansion", "hold", "1, 2, 4"):
        phase_space(build_space("glit"), Phase(name="heads", free=("*.global_heads",)))


def test_unknown_pattern(refused):
    with refused("glit", "*.globel_heads"):
        phase_space(build_space("glit"), Phase(name="x", free=("*.globel_heads",)))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ([{"free": []}], ["phases[0].free"]),
        ([{"free": "*", "frozen": 1}], ["frozen", "name, free, hold, supernet, constraint"]),
        ([{"free": "*", "supernet": "old"}], ["supernet=old", "new, continue"]),
        ([{"free": "*", "supernet": "continue"}], ["no phase before"]),
        ([{"free": "*", "name": "a"}, {"free": "*", "name": "a"}], ["name=a", "two"]),
        (["a"], ["phases[0]"]),
    ],
)
def test_malformed_phases(sections, words, refused):
    with refused(*words):
        read_phases(sections)
