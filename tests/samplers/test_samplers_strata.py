"""Architectures spread over MACs: one in each range, in every budget, the ends left out."""

from __future__ import annotations

import random

import pytest

from vitsearch import SearchSpace, build_space
from vitsearch.costs import Constraint, reachable_range
from vitsearch.errors import ConstraintError
from vitsearch.samplers import sample_strata


def macs_of(space: SearchSpace, drawn: list[object]) -> list[int]:
    return [space.plan(architecture).cost(10).macs for architecture in drawn]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["glit", "vit_resnas", "vitas", "autoformer"])
@pytest.mark.parametrize("n", [5, 24])
def test_one_in_each_range(name: str, n: int) -> None:
    space = build_space(name)
    drawn = sample_strata(space, Constraint(), n, random.Random(0), num_classes=10)
    low, high = reachable_range(space, "macs", 10)
    found = macs_of(space, drawn)
    assert found == sorted(found)
    for index, macs in enumerate(found):
        assert low + (high - low) * index / n <= macs <= low + (high - low) * (index + 1) / n
    assert len(set(drawn)) == n
    assert not {space.smallest(), space.largest()} & set(drawn)


def test_the_seed_decides() -> None:
    space = build_space("glit")
    first, second, other = (
        sample_strata(space, Constraint(), 6, random.Random(seed)) for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


def test_inside_a_budget() -> None:
    space = build_space("glit")
    window = Constraint(macs=(7e6, 9e6))
    found = macs_of(space, sample_strata(space, window, 8, random.Random(0), num_classes=10))
    assert all(7e6 + 2.5e5 * i <= macs <= 7e6 + 2.5e5 * (i + 1) for i, macs in enumerate(found))
    small = Constraint(params=(200e3, 220e3))
    drawn = sample_strata(space, small, 3, random.Random(0), num_classes=10)
    assert all(small.holds(space.plan(architecture).cost(10)) for architecture in drawn)
    assert len(set(drawn)) == 3


def test_ranges_without_architectures_give_their_share_away() -> None:
    space = build_space("glit", num_blocks=1, embed_dims=[24])
    drawn = sample_strata(space, Constraint(), space.size() - 2, random.Random(0))
    assert {space.smallest(), space.largest(), *drawn} == set(space_of(space))


def space_of(space: SearchSpace) -> list[object]:
    rng, found = random.Random(0), {}
    while len(found) < space.size():
        found[space.sample(rng)] = None
    return list(found)


def test_more_than_there_are() -> None:
    space = build_space("glit", num_blocks=1, embed_dims=[24])
    with pytest.raises(
        ConstraintError,
        match=f"n={space.size() - 1}: space glit has {space.size() - 2} architectures",
    ):
        sample_strata(space, Constraint(), space.size() - 1, random.Random(0))
    with pytest.raises(ConstraintError, match="n=6: found 2 architectures"):
        sample_strata(space, Constraint(macs=(230e3, 260e3)), 6, random.Random(0), num_classes=10)
    with pytest.raises(ConstraintError, match="reaches"):
        sample_strata(space, Constraint(macs=(1, 2)), 4, random.Random(0))
