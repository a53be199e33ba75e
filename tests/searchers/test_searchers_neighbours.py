"""Single and double changes of an architecture, in every space."""

from __future__ import annotations

import random
from itertools import combinations, islice

import pytest
from tests.every_space import COMPOSED, space_named

from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.errors import SpaceError
from vitsearch.searchers import neighbours
from vitsearch.searchers.neighbours import Neighbourhood

FAMILIES = ["autoformer", "glit", "hr_nas", "resnet18", "vit_resnas", "vitas", "vt"]
MOST = 50  # neighbours that are looked at closely in each space


def moves(space: SearchSpace, a: Architecture) -> set[tuple[str, object]]:
    return {(c.name, o) for c in space.choices if c.name in a for o in c.options if o != a[c.name]}


def everything(space: SearchSpace, count: int = 5000) -> set[Architecture]:
    """All architectures of a small space."""
    rng = random.Random(0)
    found = {space.sample(rng) for _ in range(count)}
    assert len(found) == space.size()
    return found


@pytest.mark.parametrize("name", [*FAMILIES, "hr_nas_cls", *COMPOSED])
def test_each_change_of_each_active_choice_is_one_neighbour(name: str) -> None:
    space = space_named(name)
    start = space.sample(random.Random(1))
    expected = moves(space, start)
    found = list(neighbours(space, start))
    assert len(found) == len(set(found)) == len(expected)
    assert start not in found
    near = Neighbourhood(space)
    for neighbour in random.Random(2).sample(found, min(len(found), MOST)):
        space.validate(neighbour)
        changed = [n for n, value in start.items() if n in neighbour and neighbour[n] != value]
        (name_changed,) = changed
        assert (name_changed, neighbour[name_changed]) in expected
        expected.remove((name_changed, neighbour[name_changed]))
        assert near.is_change(start, neighbour)
    assert not near.is_change(start, start)


def test_newly_active_choices_take_what_the_nearest_slot_has() -> None:
    space = build_space("vitas")
    depth = space.choice("stages.0.depth")
    rng = random.Random(0)
    start = space.complete(lambda c: depth.options[0] if c is depth else rng.choice(c.options))
    last = depth.options[0] - 1
    deeper = next(a for a in neighbours(space, start) if a["stages.0.depth"] == depth.options[-1])
    added = [name for name in deeper if name not in start]
    assert added
    for name in added:
        slot = name.split(".")[3]
        assert deeper[name] == start[name.replace(f"blocks.{slot}.", f"blocks.{last}.")]


def test_where_nothing_similar_is_active_the_middle_option_is_taken() -> None:
    space = build_space("glit", num_blocks=1)
    heads = space.choice("stages.0.blocks.0.global_heads")
    start = space.complete(lambda c: c.options[-1])
    assert start[heads.name] == heads.options[-1]
    for neighbour in neighbours(space, start):
        for name in set(neighbour) - set(start):
            options = space.choice(name).options
            assert neighbour[name] == options[(len(options) - 1) // 2]
    assert any(set(neighbour) - set(start) for neighbour in neighbours(space, start))


@pytest.mark.parametrize("name", ["autoformer", "vit_resnas", "vitas", "glit", "vt"])
def test_double_changes_are_changes_of_changes(name: str) -> None:
    space = build_space(name)
    near = Neighbourhood(space)
    start = space.sample(random.Random(3))
    found = list(near.doubles(start, random.Random(0), 10**6))
    singles = set(near.singles(start))
    assert len(found) == len(set(found)) > len(singles)
    assert not singles & set(found)
    assert start not in found
    reached = {b for a in singles for b in near.singles(a)}
    assert set(found) <= reached
    some = list(near.doubles(start, random.Random(0), 40))
    assert len(some) == len(set(some)) == 40
    assert set(some) <= set(found)
    assert some == list(near.doubles(start, random.Random(0), 40))
    assert some != list(near.doubles(start, random.Random(1), 40))


def test_without_conditions_double_changes_are_all_at_distance_two() -> None:
    space = build_space("glit", mixer="attention", num_blocks=2, embed_dims=[24, 36, 48])
    whole = everything(space)
    assert len({frozenset(a) for a in whole}) == 1  # the same choices are active in all
    start = space.smallest()
    near = Neighbourhood(space)

    def away(a: Architecture) -> int:
        return sum(a[name] != start[name] for name in start)

    assert set(near.singles(start)) == {a for a in whole if away(a) == 1}
    assert set(near.doubles(start, random.Random(0), 10**6)) == {a for a in whole if away(a) == 2}


def test_few_double_changes_of_a_space_with_hundreds_of_thousands() -> None:
    space = build_space("hr_nas_cls")
    start = space.sample(random.Random(0))
    near = Neighbourhood(space)
    found = list(near.doubles(start, random.Random(0), 30))
    assert len(set(found)) == 30
    for double in found:
        space.validate(double)
        assert sum(double[name] != start[name] for name in start) == 2
    assert len(list(islice(neighbours(space, start), 5))) == 5


def test_random_changes_are_neighbours() -> None:
    space = build_space("glit")
    near, rng = Neighbourhood(space), random.Random(0)
    start = space.sample(rng)
    single = set(near.singles(start))
    drawn = {near.random_change(start, rng) for _ in range(500)}
    assert drawn <= single
    assert len(drawn) > len(single) / 2
    fixed = space.restrict(space.smallest())
    assert Neighbourhood(fixed).random_change(fixed.smallest(), rng) is None
    assert list(neighbours(fixed, fixed.smallest())) == []
    assert list(Neighbourhood(fixed).doubles(fixed.smallest(), rng, 5)) == []


def test_whether_one_is_a_change_of_another() -> None:
    space = build_space("glit", num_blocks=1)
    near = Neighbourhood(space)
    whole = sorted(everything(space), key=lambda a: a.digest)
    for first, second in combinations(whole, 2):
        assert near.is_change(first, second) == (second in set(near.singles(first)))


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(SpaceError):
        neighbours(build_space("glit"), build_space("vitas").smallest())
