from __future__ import annotations

import json

import pytest

import vitsearch
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.searchers import EvolutionSearcher, RandomSearcher

SPACE = vitsearch.build_space("glit_tiny")
WINDOW = Constraint(macs=("1.2G", "1.3G"))


def test_one_generation_of_distinct_architectures_inside_the_budget():
    search = RandomSearcher(SPACE, WINDOW, population=30, seed=3)
    candidates = search.ask()
    assert search.num_candidates == len(candidates) == 30
    assert len({candidate.architecture for candidate in candidates}) == 30
    model = CostModel(SPACE)
    assert all(WINDOW.holds(model.cost(c.architecture)) for c in candidates)
    assert {(c.generation, c.origin, c.parents) for c in candidates} == {(0, "random", ())}
    search.tell([0.5] * 30)
    assert search.ask() == []


def test_it_begins_as_every_search_does():
    evolution = EvolutionSearcher(SPACE, WINDOW, population=10, seed=3)
    assert RandomSearcher(SPACE, WINDOW, population=10, seed=3).ask() == evolution.ask()
    assert RandomSearcher(SPACE, WINDOW, population=25, seed=3).ask()[:10] == evolution.ask()


def test_resumes():
    search = RandomSearcher(SPACE, population=4)
    expected = search.ask()
    other = RandomSearcher(SPACE, population=4)
    other.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert other.ask() == expected
    search.tell([0.1, 0.4, 0.2, 0.3])
    other.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert other.ask() == []
    assert other.best(1) == [expected[1].architecture]


@pytest.mark.parametrize("population", [0, -1, 2.5, "many"])
def test_population_out_of_range(population):
    with pytest.raises(ConfigError, match=r"searcher\.population="):
        RandomSearcher(SPACE, population=population)


def test_unreachable_budget():
    with pytest.raises(ConstraintError, match="reaches"):
        RandomSearcher(SPACE, Constraint(macs=(1, 2)))
