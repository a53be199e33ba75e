"""Rows of numbers stand for architectures, and their costs are the plans'."""

from __future__ import annotations

import random

import numpy as np
import pytest

from vitsearch import Architecture, build_space, list_spaces
from vitsearch.costs import cost_table
from vitsearch.costs.rows import RowFormat
from vitsearch.costs.vectorised import RowCosts
from vitsearch.errors import SpaceError

SPACES = {name: build_space(name) for name in list_spaces()} | {
    "restricted": build_space("glit").restrict({"*.global_heads": [0, 3], "*.2.mlp_ratio": [4]}),
    "one slot differs": build_space("vit_resnas").restrict({"stages.1.blocks.1.keep": True}),
    "side by side": build_space("vit_resnas", skippable=[[1], [0, 1, 2], [0, 1]]),
    "stages and depths": build_space(
        "glit", num_stages=2, num_blocks=[1, 3], depths=[[0, 1], [1, 3]]
    ),
    "restricted depths": build_space("vitas").restrict({"*.depth": [2, 3, 6]}),
    "nothing to choose": build_space("glit").restrict(build_space("glit").largest()),
    "fixed in some slots, left out in others": build_space(
        "vit_resnas", num_blocks=[1, 2, 1], skippable=[[], [1], [0]]
    ).restrict({"*.num_heads": 3}),
    "patches": build_space("glit", embed_dims=[24, 48], patch_sizes=[4, 7]),
}


def drawn(space, n, seed=0):
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("num_classes", [0, 1000])
@pytest.mark.parametrize("name", SPACES)
def test_costs_are_the_plans(name, num_classes):
    space = SPACES[name]
    ends = [space.smallest(), space.largest(), space.extreme("params", largest=False)[0]]
    architectures = [*ends, *drawn(space, 80)]
    rows = RowCosts(space, num_classes)
    found = rows.costs(rows.format.encode(architectures))
    assert found.dtype == np.int64
    costs = [space.plan(a).cost(num_classes) for a in architectures]
    assert found.tolist() == [[cost.macs, cost.params] for cost in costs]


@pytest.mark.parametrize("name", SPACES)
def test_tables_filled_earlier_give_the_same(name):
    space = SPACES[name]
    grown, fresh = RowCosts(space), RowCosts(space)
    for seed in range(3):
        grown.costs(grown.format.encode(drawn(space, 20, seed)))
    codes = fresh.format.encode(drawn(space, 50, 7))
    assert np.array_equal(grown.costs(codes), fresh.costs(codes))


@pytest.mark.parametrize("name", SPACES)
def test_rows_and_architectures_turn_into_each_other(name):
    space = SPACES[name]
    rows, architectures = RowFormat(space), drawn(space, 50)
    codes = rows.encode(architectures)
    assert codes.shape == (len(space.choices), 50)
    assert [rows.decode(row) for row in codes.T.tolist()] == architectures
    assert np.unique(codes, axis=1).shape[1] == len(set(architectures))


@pytest.mark.parametrize("name", SPACES)
def test_genotypes_become_canonical(name):
    space, rng = SPACES[name], np.random.default_rng(0)
    rows = RowFormat(space)
    counts = [[len(choice.options)] for choice in space.choices]
    genotypes = rng.integers(0, counts, size=(len(counts), 50))
    named = [
        {c.name: c.options[code] for c, code in zip(space.choices, row, strict=True)}
        for row in genotypes.T
    ]
    codes = rows.drop_inactive(genotypes.copy())
    assert [rows.decode(r) for r in codes.T.tolist()] == [space.canonical(g) for g in named]
    assert np.array_equal(rows.drop_inactive(codes.copy()), codes)


def test_no_rows():
    rows = RowCosts(SPACES["vitas"])
    codes = rows.format.encode([])
    assert codes.shape == (len(SPACES["vitas"].choices), 0)
    assert rows.costs(codes).shape == (0, 2)


def test_an_architecture_of_another_space_is_refused():
    largest = SPACES["glit"].largest()
    with pytest.raises(SpaceError, match=r"stem\.patch_size=4 is not legal in space glit_tiny"):
        RowFormat(SPACES["glit_tiny"]).encode([SPACES["glit_tiny"].largest(), largest])
    wrong = Architecture({**largest, "stages.0.blocks.0.mlp_ratio": 5})
    with pytest.raises(SpaceError, match="mlp_ratio=5 is not"):
        cost_table(SPACES["glit"], [wrong])
