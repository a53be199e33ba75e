"""What local search and regularised evolution do that others do not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.searchers.test_searchers_guided import by_digest, run, seen, separable

from vitsearch import Architecture, build_space
from vitsearch.costs import CostModel
from vitsearch.errors import ConfigError
from vitsearch.searchers import LocalSearcher, RegularizedEvolutionSearcher, neighbours

SPACE = build_space("vit_resnas")


@pytest.mark.parametrize("seed", range(3))
def test_all_neighbours_are_scored_and_the_best_is_next(seed: int) -> None:
    score = separable(SPACE, seed)
    search = LocalSearcher(SPACE, candidates=1000, seed=seed)
    start, *moves = run(search, score)
    (present,) = seen([start])
    scored = {present}
    for generation in moves:
        around = set(neighbours(SPACE, present))
        found = seen([generation])
        if generation[0].origin == "random":
            assert around <= scored
            assert all(score(a) <= score(present) for a in around)
            return  # a maximum, and a new start
        assert set(found) == around - scored
        assert {c.parents for c in generation} == {(present.digest,)}
        scored |= around
        present = max([present, *around], key=score)
    raise AssertionError("no climb ended")


def test_a_climb_ends_where_no_neighbour_is_better_and_another_starts() -> None:
    space = build_space("glit", num_blocks=1)
    score = {a: by_digest(a) or 0.0 for a in map(space.sample, map(random.Random, range(900)))}
    assert len(score) == 36
    peaks = {a for a in score if all(score[b] < score[a] for b in neighbours(space, a))}
    assert len(peaks) > 1
    search = LocalSearcher(space, candidates=36, neighbours=2, seed=1)
    generations = run(search, score.__getitem__)
    starts = [g for g in generations if g[0].origin == "random"]
    assert len(starts) > 1
    assert all(len(start) == 1 for start in starts)
    assert peaks <= set(seen(generations))


def test_a_climb_uses_scores_of_others() -> None:
    space = build_space("glit", num_blocks=2)
    peak = space.largest()

    def height(architecture: Architecture) -> float:
        return sum(architecture.get(name) == value for name, value in peak.items())

    search = LocalSearcher(space, candidates=200, seed=0)
    search.ask()
    search.tell([height(search.ask()[0].architecture)])
    generations = run(search, height)
    climbs = [g for g in generations if g[0].origin == "random"]
    assert climbs
    assert search.best(1) == [peak]
    told = seen(generations)
    assert len(told) == len(set(told))


def test_equal_scores_move_nowhere() -> None:
    search = LocalSearcher(SPACE, candidates=30, neighbours=5)
    first, *others = run(search, lambda _: 0.5)
    assert {parent for g in others for c in g for parent in c.parents} == {
        first[0].architecture.digest
    }


def test_the_best_of_several_initial_ones_is_where_it_starts() -> None:
    rng = random.Random(0)
    initial = [SPACE.sample(rng) for _ in range(6)]
    score = separable(SPACE, 0)
    search = LocalSearcher(SPACE, candidates=10, neighbours=4, initial=initial)
    first, second = run(search, score)
    assert seen([first]) == initial
    assert {c.parents for c in second} == {(max(initial, key=score).digest,)}
    few = LocalSearcher(SPACE, candidates=4, initial=initial)
    assert few.num_candidates == len(seen(run(few, score))) == 6


def test_the_oldest_die_not_the_worst() -> None:
    """The first is the best by far, and has children only as long as it is young."""
    rng = random.Random(0)
    first = SPACE.sample(rng)
    search = RegularizedEvolutionSearcher(
        SPACE, candidates=25, population=5, sample_size=40, initial=[first]
    )
    generations = run(search, lambda a: 10.0 if a == first else by_digest(a) or 0.0)
    assert [len(g) for g in generations] == [5, *[1] * 20]
    parents = [g[0].parents for g in generations[1:]]
    assert parents[0] == (first.digest,)
    assert (first.digest,) not in parents[5:]
    order = [a.digest for a in seen(generations)]
    for number, ((parent,), child) in enumerate(zip(parents, seen(generations)[5:], strict=True)):
        assert parent in order[number : number + 5]
        father = next(a for a in seen(generations) if a.digest == parent)
        assert child in set(neighbours(SPACE, father))


def test_tournaments_of_one_choose_at_random_and_large_ones_the_best() -> None:
    def fathers(size: int) -> set[tuple[str, ...]]:
        settings: dict[str, Any] = {"candidates": 30, "population": 10, "batch": 20}
        search = RegularizedEvolutionSearcher(SPACE, **settings, sample_size=size)
        macs = CostModel(SPACE)
        return {c.parents for c in run(search, lambda a: macs.cost(a).macs)[1]}

    assert len(fathers(1)) > 5
    assert len(fathers(500)) == 1


def test_a_population_larger_than_the_search() -> None:
    with pytest.raises(ConfigError, match=r"searcher\.population=9 .* searcher\.candidates=8"):
        RegularizedEvolutionSearcher(SPACE, candidates=8, population=9)
    assert LocalSearcher(SPACE, neighbours=None).neighbours is None
    with pytest.raises(ConfigError, match="or null"):
        LocalSearcher(SPACE, neighbours=0)
