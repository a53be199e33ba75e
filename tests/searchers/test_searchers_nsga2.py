from __future__ import annotations

import json
import random

import numpy as np
import pytest

import vitsearch
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.searchers import FrontSearcher, Nsga2Searcher, RandomSearcher, hypervolume

TINY = vitsearch.build_space("glit_tiny")
SMALL = vitsearch.build_space("glit", num_blocks=1)
WINDOW = Constraint(macs=("1.1G", "1.3G"))
SETTINGS = {"population": 12, "generations": 4, "mutations": 6, "crossovers": 5}


def score(architecture):
    """Unrelated to anything, the same everywhere."""
    return int(architecture.digest, 16) / 16**12


def latency(architecture):
    return 1 + int(architecture.digest[::-1], 16) / 16**12


def searcher(space=TINY, constraint=WINDOW, **settings):
    return Nsga2Searcher(space, constraint, **{**SETTINGS, **settings})


def run(search, scoring=score):
    generations = []
    while candidates := search.ask():
        generations.append(candidates)
        search.tell([scoring(c.architecture) for c in candidates])
    return generations


def brute_force_front(architectures, *objectives):
    def point(architecture):
        return tuple(objective(architecture) for objective in objectives)

    def is_bettered(a):
        return any(
            point(b) != point(a) and all(x <= y for x, y in zip(point(b), point(a), strict=True))
            for b in architectures
        )

    return {a for a in architectures if not is_bettered(a)}


@pytest.mark.parametrize("seed", range(2))
def test_candidates_are_new_legal_and_inside_the_budget(seed):
    search, model, seen = searcher(seed=seed), CostModel(TINY), set()
    generations = run(search)
    assert [len(generation) for generation in generations] == [12, 11, 11, 11]
    for number, generation in enumerate(generations):
        for candidate in generation:
            TINY.validate(candidate.architecture)
            assert WINDOW.holds(model.cost(candidate.architecture))
            assert candidate.architecture.digest not in seen
            assert candidate.generation == number
            assert set(candidate.parents) <= seen
        seen |= {c.architecture.digest for c in generation}
        assert len(seen) == 12 + 11 * number
    assert len(seen) == search.num_candidates


@pytest.mark.parametrize("minimise", [("macs",), ("params",), ("macs", "params"), "macs"])
def test_the_front_is_what_nothing_in_the_history_betters(minimise):
    search = searcher(minimise=minimise)
    model = CostModel(TINY)
    seen = [c.architecture for generation in run(search) for c in generation]
    costs = ["macs"] if minimise == "macs" else minimise
    objectives = [lambda a, m=metric: getattr(model.cost(a), m) for metric in costs]
    front = search.front()
    assert len(front) == len(set(front))
    assert set(front) == brute_force_front(seen, lambda a: -score(a), *objectives)
    order = [objectives[0](architecture) for architecture in front]
    assert order == sorted(order)
    assert search.best(1)[0] in front
    assert isinstance(search, FrontSearcher)


def test_all_of_a_small_space_has_the_exact_front():
    search = searcher(SMALL, None, population=20, generations=20)
    seen = [c.architecture for generation in run(search) for c in generation]
    assert len(set(seen)) == 36
    model = CostModel(SMALL)
    expected = brute_force_front(seen, lambda a: -score(a), lambda a: model.cost(a).macs)
    assert set(search.front()) == expected


def test_deterministic_and_without_global_randomness():
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    first = run(searcher(seed=7))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert run(searcher(seed=7)) == first
    assert run(searcher(seed=8)) != first
    assert run(searcher(seed=7), lambda a: -score(a))[:2] != first[:2]


@pytest.mark.parametrize("stop", range(5))
@pytest.mark.parametrize("minimise", [("macs",), ("latency_ms", "params")])
def test_resumes_where_it_stopped(stop, minimise):
    settings = {"seed": 2, "minimise": minimise, "measure": {"latency_ms": latency}}
    whole = searcher(**settings)
    expected = run(whole)
    first = searcher(**settings)
    for _ in range(stop):
        first.tell([score(c.architecture) for c in first.ask()])
    state = json.loads(json.dumps(first.state_dict()))
    second = searcher(**settings)
    second.ask()
    second.load_state_dict(state)
    assert run(second) == expected[stop:]
    assert second.front() == whole.front()
    assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())


def test_measured_costs_are_measured_once_and_recorded():
    asked = []

    def measure(architecture):
        asked.append(architecture)
        return latency(architecture)

    search = searcher(minimise=["latency_ms"], measure={"latency_ms": measure})
    candidates = [c for generation in run(search) for c in generation]
    assert len(asked) == len(set(asked)) == len(candidates)
    assert all(c.measured == {"latency_ms": latency(c.architecture)} for c in candidates)
    expected = brute_force_front(asked, lambda a: -score(a), latency)
    assert set(search.front()) == expected


def test_survivors_are_the_first_fronts_and_their_least_crowded():
    search = searcher(constraint=None, population=6)
    run(search)
    survivors, fitness = search._survivors()
    assert len(survivors) == len(set(survivors)) == 6
    assert fitness == sorted(fitness)
    front = search.front()
    if len(front) >= 6:
        assert set(survivors) <= set(front)
    assert {front[0], front[-1]} <= set(survivors)  # the ends are never lost


def test_candidates_given_up_early_are_no_parents():
    search = searcher()
    first = search.ask()
    search.tell([0.5 if index < 3 else None for index in range(len(first))])
    whole = {candidate.architecture.digest for candidate in first[:3]}
    second = search.ask()
    assert {digest for c in second for digest in c.parents} <= whole
    assert not {c.architecture for c in second} & {c.architecture for c in first}
    assert {a.digest for a in search.front()} <= whole


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"minimise": ["flops"]}, "searcher.minimise=flops is no cost; legal: macs, params"),
        ({"minimise": []}, "searcher.minimise=[] must name different costs"),
        ({"minimise": ["macs", "macs"]}, "must name different costs"),
        ({"minimise": ["latency_ms"]}, "latency_ms is measured, not computed"),
        ({"population": 0}, "searcher.population=0 must be a whole number, 1 or more"),
        ({"mutation_prob": 2}, "searcher.mutation_prob=2 must lie in [0, 1]"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError) as info:
        searcher(**settings)
    assert words in str(info.value)
    assert "\n" not in str(info.value)


def test_budget_that_nothing_meets():
    with pytest.raises(ConstraintError, match="reaches"):
        searcher(constraint=Constraint(macs=(1, 2)))


def made_up_accuracy(seed):
    """Larger is better, with diminishing returns, and every option is worth something."""
    rng, model = random.Random(seed), CostModel(TINY)
    worth = {(c.name, option): rng.gauss(0, 0.05) for c in TINY.choices for option in c.options}
    return lambda a: (
        3 * np.log(model.cost(a).macs / 5e8) + sum(worth[name, value] for name, value in a.items())
    )


def test_its_front_encloses_more_than_that_of_random_search():
    model = CostModel(TINY)
    gains = []
    for seed in range(5):
        accuracy = made_up_accuracy(seed)
        volumes = []
        for search in (
            searcher(
                constraint=None,
                population=40,
                generations=6,
                mutations=20,
                crossovers=20,
                seed=seed,
            ),
            RandomSearcher(TINY, population=240, seed=seed),
        ):
            seen = [c.architecture for generation in run(search, accuracy) for c in generation]
            assert len(seen) == 240
            points = [(-accuracy(a), model.cost(a).macs) for a in seen]
            volumes.append(hypervolume(points, (0, 3e9), ideal=(-6, 0)))
        gains.append(volumes[0] - volumes[1])
    assert sorted(gains)[2] > 0, gains
