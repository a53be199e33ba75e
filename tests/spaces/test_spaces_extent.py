from __future__ import annotations

import random
from itertools import product
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vitsearch import build_space, list_spaces
from vitsearch.costs import cost_table

SMALL = {
    "one block": build_space("glit", num_blocks=1),
    "grid": build_space("glit", num_blocks=1, **{"mixer.local": "grid"}),
    "widths and patches": build_space(
        "glit", num_blocks=1, embed_dims=[24, 48], **{"patch_sizes": [4, 7]}
    ),
    "two blocks": build_space(
        "glit", num_blocks=2, **{"mixer.kernel_sizes": [9], "mixer.global_heads": [0, 1, 3]}
    ).restrict({"*.local_expansion": [1, 4], "*.mlp_ratio": [2, 6]}),
    "two stages": build_space(
        "glit", num_stages=2, num_blocks=1, mlp={"ratios": [[2, 3], [4]]}
    ).restrict({"*.kernel_size": 9, "*.qkv_expansion": [0.5, 1]}),
    "no conditions": build_space(
        "glit", num_blocks=2, mlp="mlp", **{"mlp.ratios": [1, 2], "mixer.global_heads": 1}
    ),
    "plain attention": build_space("glit", num_blocks=2, mixer="attention", embed_dims=[24, 48]),
    "hidden channels": build_space(
        "glit", num_blocks=1, mlp="mlp", **{"mlp.ratios": None, "mlp.hidden": [32, 96]}
    ),
    "nothing to choose": build_space("glit", num_blocks=1).restrict(
        build_space("glit", num_blocks=1).largest()
    ),
}
BLOCK = build_space("glit", num_blocks=2, embed_dims=[24, 48], **{"patch_sizes": [4, 7]})


def brute_force(space):
    """Every architecture, by going through all genotypes."""
    genotypes = product(*(choice.options for choice in space.choices))
    names = [choice.name for choice in space.choices]
    return {space.canonical(dict(zip(names, values, strict=True))) for values in genotypes}


def rank(space, metric, num_classes=0):
    def key(architecture):
        cost = space.plan(architecture).cost(num_classes)
        return (cost.macs, cost.params) if metric == "macs" else (cost.params, cost.macs)

    return key


def check_against_brute_force(space):
    found = brute_force(space)
    assert space.size() == len(found)
    assert len({space.plan(architecture) for architecture in found}) == len(found)
    for metric in ("macs", "params"):
        ranks = [rank(space, metric)(architecture) for architecture in found]
        for largest, end in ((False, min(ranks)), (True, max(ranks))):
            architecture, cost = space.extreme(metric, largest=largest)
            space.validate(architecture)
            assert rank(space, metric)(architecture) == end
            assert cost == space.plan(architecture).cost(0)
    assert space.smallest() == space.extreme("macs", largest=False)[0]
    assert space.largest() == space.extreme("macs", largest=True)[0]


@pytest.mark.parametrize("name", SMALL)
def test_size_and_ends_equal_brute_force(name):
    check_against_brute_force(SMALL[name])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_size_and_ends_equal_brute_force_where_restricted(data):
    limits = {}
    for choice in BLOCK.choices:
        options = st.lists(st.sampled_from(choice.options), min_size=1, unique=True)
        limits[choice.name] = data.draw(options, label=choice.name)
    assume(prod(map(len, limits.values())) <= 600)
    check_against_brute_force(BLOCK.restrict(limits))


def test_sizes_of_the_paper():
    for name in ("glit_tiny", "glit_small", "glit_base"):
        assert build_space(name).size() == 36**12
    assert build_space("glit").size() == 36**6


def test_sizes_of_partial_spaces(glit_tiny):
    level_1 = glit_tiny.restrict({"*.kernel_size": 31, "*_expansion": 1, "*.mlp_ratio": 4})
    assert level_1.size() == 4**12
    heads = level_1.sample(random.Random(0))
    fixed = {name: value for name, value in heads.items() if name.endswith("global_heads")}
    assert glit_tiny.restrict(fixed).size() == 9**12
    assert glit_tiny.restrict(heads).size() == 1


@pytest.mark.parametrize("name", list_spaces())
def test_no_random_architecture_lies_beyond_the_ends(name):
    space, rng = build_space(name), random.Random(0)
    table = cost_table(space, [space.sample(rng) for _ in range(500)])
    for metric in ("macs", "params"):
        ends = [space.extreme(metric, largest=largest)[0] for largest in (False, True)]
        low, high = cost_table(space, ends)[metric]
        assert low <= table[metric].min()
        assert table[metric].max() <= high


@pytest.mark.parametrize("num_classes", [0, 10, 5000])
def test_ends_hold_with_any_classifier(num_classes):
    space = SMALL["widths and patches"]
    found = brute_force(space)
    for metric in ("macs", "params"):
        key = rank(space, metric, num_classes)
        for largest, pick in ((False, min), (True, max)):
            architecture, _ = space.extreme(metric, largest=largest)
            assert key(architecture)[0] == pick(key(a)[0] for a in found)


def test_catalogue_holds_every_piece():
    space = SMALL["widths and patches"]
    catalogue = space.catalogue()
    stems, heads, mixers, mlps = set(), set(), set(), set()
    for architecture in brute_force(space):
        plan = space.plan(architecture)
        stems.add(plan.stem)
        heads.add(plan.head)
        mixers.add(plan.stages[0].blocks[0].mixer)
        mlps.add(plan.stages[0].blocks[0].mlp)
    blocks = catalogue.nodes["stages.0.blocks.0"]
    assert set(catalogue.nodes["stem"]) == stems
    assert set(catalogue.heads) == heads
    assert {block.mixer for block in blocks} == mixers
    assert {block.mlp for block in blocks} == mlps
    assert {block.embed_dim for block in blocks} == {24, 48}
    assert len(blocks) < len(mixers) * len(mlps)
    for pieces in (catalogue.nodes["stem"], catalogue.heads, blocks):
        assert len(set(pieces)) == len(pieces)
