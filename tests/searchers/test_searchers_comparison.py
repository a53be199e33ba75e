"""Evolution and random search at equal evaluations, from the same start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vitsearch import SearchSpace, build_space
from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError
from vitsearch.searchers.comparison import compare_searches, make_searchers
from vitsearch.spaces import Architecture

SMALL = {"population": 6, "generations": 3, "parents": 3, "mutations": 4, "crossovers": 2}


class ByMacs:
    """Scores by size; remembers what it was asked for."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.asked: list[list[Architecture]] = []

    def __call__(self, architectures: Sequence[Architecture]) -> list[float]:
        self.asked.append(list(architectures))
        return [float(self.space.plan(a).cost(10).macs) for a in architectures]


def test_both_score_as_many_from_the_same_start() -> None:
    space = build_space("glit")
    score = ByMacs(space)
    searchers = make_searchers(space, Constraint(), SMALL, seed=3, num_classes=10)
    found = compare_searches(*searchers, score, seed=3)
    *evolved, drawn = score.asked
    assert found.evaluations == len(found.random) == len(drawn) == sum(map(len, evolved)) == 18
    assert drawn[:6] == evolved[0]
    assert found.evolution[:6] == found.random[:6]
    for curve, architectures in (
        (found.evolution, [a for asked in evolved for a in asked]),
        (found.random, drawn),
    ):
        scores = ByMacs(space)(architectures)
        assert list(curve) == [max(scores[: i + 1]) for i in range(len(scores))]
    assert found.difference == found.evolution[-1] - found.random[-1]
    assert found.seed == 3


def test_evolution_wins_where_the_score_is_smooth() -> None:
    space = build_space("glit")
    settings = {"population": 20, "generations": 8, "parents": 5, "mutations": 10, "crossovers": 10}
    differences = []
    for seed in range(3):
        searchers = make_searchers(space, Constraint(), settings, seed=seed, num_classes=10)
        differences.append(compare_searches(*searchers, ByMacs(space), seed=seed).difference)
    assert min(differences) > 0


def test_a_space_that_runs_out_is_cut_to_equal_length() -> None:
    space = build_space("glit", num_blocks=1, embed_dims=[24])
    settings = SMALL | {"population": space.size(), "generations": 4}
    searchers = make_searchers(space, Constraint(), settings, seed=0, num_classes=10)
    found = compare_searches(*searchers, ByMacs(space), seed=0)
    assert found.evaluations == len(found.random) == space.size()
    assert found.difference == 0


def test_settings_are_those_of_evolution() -> None:
    with pytest.raises(ConfigError, match="population=0"):
        make_searchers(build_space("glit"), Constraint(), {"population": 0}, seed=0, num_classes=10)
