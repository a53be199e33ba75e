"""What is promised of local search, regularised evolution, predictor and Optuna alike."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from statistics import mean
from typing import Any

import pytest

from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, ConstraintError, SpaceError
from vitsearch.searchers import (
    Candidate,
    EvolutionSearcher,
    LocalSearcher,
    OptunaSearcher,
    PredictorSearcher,
    RandomSearcher,
    RegularizedEvolutionSearcher,
)

Score = Callable[[Architecture], float | None]
SPACES = ["glit", "vitas", "vit_resnas", "hr_nas_cls"]
TOTAL = 20
GENERATIONS = {"population": 8, "generations": 4, "batch": 4}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "local": (LocalSearcher, {"candidates": TOTAL, "neighbours": 4}),
    "regularised": (
        RegularizedEvolutionSearcher,
        {"candidates": TOTAL, "population": 8, "sample_size": 3, "batch": 5},
    ),
    "predictor": (PredictorSearcher, {**GENERATIONS, "pool": 40, "ensemble": 4}),
    "optuna": (OptunaSearcher, {"population": 12, "generations": 3, "batch": 4}),
}


@cache
def space_of(name: str) -> SearchSpace:
    return build_space(name)


@cache
def window(name: str) -> Constraint:
    """The middle half of a space's MACs."""
    space, rng = space_of(name), random.Random(0)
    model = CostModel(space)
    macs = sorted(model.cost(space.sample(rng)).macs for _ in range(40))
    return Constraint(macs=(macs[10], macs[30]))


def make(kind: str, name: str = "glit", constraint: Constraint | None = None, **more: Any) -> Any:
    searcher, settings = KINDS[kind]
    if kind == "optuna" and name == "hr_nas_cls":  # TPE takes seconds for each of its candidates
        settings = {**settings, "sampler": "random"}
    return searcher(space_of(name), constraint, **{**settings, **more})


def by_digest(architecture: Architecture) -> float | None:
    """Unrelated to anything; some are dropped early."""
    value = int(architecture.digest, 16) / 16**12
    return None if value < 0.15 else value


def separable(space: SearchSpace, seed: int) -> Callable[[Architecture], float]:
    """Every option is worth something."""
    rng = random.Random(seed)
    worth = {(c.name, option): rng.gauss(0, 1) for c in space.choices for option in c.options}
    return lambda a: sum(worth[name, value] for name, value in a.items())


def run(search: Any, score: Score = by_digest) -> list[list[Candidate]]:
    generations = []
    while candidates := search.ask():
        generations.append(candidates)
        search.tell([score(c.architecture) for c in candidates])
    return generations


def seen(generations: list[list[Candidate]]) -> list[Architecture]:
    return [c.architecture for generation in generations for c in generation]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_is_promised_of_a_search(kind: str, name: str) -> None:
    space, constraint = space_of(name), window(name)
    rng = random.Random(5)
    initial = make(kind, name, constraint, seed=9).budget.draw(2, rng)
    search = make(kind, name, constraint, initial=[*initial, space.largest(), initial[0]])
    generations = run(search)
    found = seen(generations)
    assert len(found) == len(set(found)) == search.num_candidates == TOTAL
    assert found[:2] == initial  # the largest lies outside the budget
    assert [c.origin for c in generations[0][:2]] == ["initial", "initial"]
    model, told = CostModel(space), set()
    for number, generation in enumerate(generations):
        for candidate in generation:
            space.validate(candidate.architecture)
            assert constraint.holds(model.cost(candidate.architecture))
            assert candidate.generation == number
            assert set(candidate.parents) <= told
            assert len(candidate.parents) == (candidate.origin == "mutation")
            assert number or candidate.origin in ("initial", "random")
        told |= {c.architecture.digest for c in generation}
    assert any(c.origin in ("mutation", "sampler") for g in generations for c in g)


@pytest.mark.parametrize(("kind", "name"), [*((k, "glit") for k in KINDS), ("local", "vitas")])
def test_resumes_where_it_stopped(kind: str, name: str) -> None:
    whole = make(kind, name, window(name), seed=2)
    expected = run(whole)
    assert len(expected) > 2
    first = make(kind, name, window(name), seed=2)
    for stop in range(len(expected) + 1):
        before = json.dumps(first.state_dict())
        second = make(kind, name, window(name), seed=2)
        second.ask()  # forgotten when a state is loaded
        second.load_state_dict(json.loads(before))
        assert run(second) == expected[stop:]
        assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())
        again = first.ask()
        again_and_again = first.ask()
        assert again == again_and_again
        assert json.dumps(first.state_dict()) == before
        if again:
            first.tell([by_digest(c.architecture) for c in again])


@pytest.mark.parametrize("kind", KINDS)
def test_deterministic_given_the_scores(kind: str) -> None:
    random.seed(11)
    state = random.getstate()
    found = run(make(kind, seed=7))
    assert found == run(make(kind, seed=7))
    assert found != run(make(kind, seed=8))
    other = run(make(kind, seed=7), lambda a: -(by_digest(a) or 0))
    assert found[0] == other[0]
    assert found != other
    assert random.getstate() == state


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_is_scored_is_allowed(kind: str) -> None:
    asked = []

    def allowed(architecture: Architecture) -> bool:
        asked.append(architecture)
        return int(architecture.digest[-1], 16) < 8

    start = next(a for a in make(kind, seed=4).budget.draw(20, random.Random(0)) if allowed(a))
    found = seen(run(make(kind, allowed=allowed, initial=[start])))
    assert found[0] == start
    assert len(found) == TOTAL
    assert all(map(allowed, found))
    assert set(asked) > set(found)
    with pytest.raises(ConstraintError, match="no allowed architecture of space glit") as info:
        make(kind, allowed=lambda _: False).ask()
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_scored_is_measured_where_all_windows_hold(kind: str) -> None:
    measured = []

    def latency(architecture: Architecture) -> float:
        measured.append(architecture)
        return by_digest(architecture) or 0.0

    search = make(
        kind,
        "glit",
        Constraint(latency_ms=(0, 1), macs=window("glit").macs),
        measure={"latency_ms": latency},
    )
    generations = run(search)
    assert len(measured) == len(set(measured)) == TOTAL
    assert set(measured) == set(seen(generations))
    for candidate in (c for generation in generations for c in generation):
        assert candidate.measured == {"latency_ms": by_digest(candidate.architecture) or 0.0}
    measured.clear()
    narrow = Constraint(latency_ms=(0.3, 0.7))
    found = seen(run(make(kind, "glit", narrow, measure={"latency_ms": latency})))
    assert len(found) == TOTAL
    assert all(0.3 <= (by_digest(a) or 0) <= 0.7 for a in found)


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_smaller_than_the_search_end_cleanly(kind: str) -> None:
    space = build_space("glit", num_blocks=1)
    searcher, settings = KINDS[kind]
    more = {"candidates": 60} if "candidates" in settings else {"generations": 30}
    search = searcher(space, **{**settings, **more})
    found = seen(run(search))
    assert len(found) == len(set(found)) == space.size() == 36
    assert search.ask() == []
    fixed = space.restrict(space.largest())
    assert seen(run(searcher(fixed, **settings))) == [space.largest()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_whose_scores_are_all_dropped_goes_on(kind: str) -> None:
    found = seen(run(make(kind), lambda _: None))
    assert len(found) == len(set(found)) == TOTAL


@pytest.mark.parametrize("kind", KINDS)
def test_better_than_random_search_at_equal_candidates(kind: str) -> None:
    settings = {
        "local": {"candidates": 70, "neighbours": 8},
        "regularised": {"candidates": 70, "population": 20, "sample_size": 8, "batch": 5},
        "predictor": {"population": 20, "generations": 6, "batch": 10, "pool": 150},
        "optuna": {"population": 40, "generations": 4, "batch": 10},
    }[kind]
    slow = kind == "optuna"
    for name, seeds in (("vit_resnas", 3),) if slow else (("glit", 4), ("vit_resnas", 3)):
        gains = []
        for seed in range(seeds):
            score = separable(space_of(name), seed)
            searches = (
                make(kind, name, window(name), **settings, seed=seed),
                RandomSearcher(space_of(name), window(name), population=70, seed=seed),
            )
            guided, drawn = (seen(run(search, score)) for search in searches)
            assert len(guided) == len(drawn) == 70
            gains.append(max(map(score, guided)) - max(map(score, drawn)))
        assert mean(gains) > 0, (name, gains)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_out_of_range_are_refused_in_one_line(kind: str) -> None:
    for name, value in KINDS[kind][1].items():
        for wrong in (0, 1.5, "many"):
            with pytest.raises(ConfigError, match=rf"searcher\.{name}={wrong} must be") as info:
                make(kind, **{name: wrong})
            assert "\n" not in str(info.value), value
    with pytest.raises(ConstraintError, match="reaches"):
        make(kind, constraint=Constraint(macs=(1, 2)))
    with pytest.raises(SpaceError):
        make(kind, initial=[space_of("vitas").smallest()])


@pytest.mark.parametrize("kind", ["evolution", "random"])
def test_earlier_searchers_take_a_further_condition_too(kind: str) -> None:
    def allowed(architecture: Architecture) -> bool:
        return int(architecture.digest[-1], 16) < 8

    space = space_of("glit")
    if kind == "random":
        found = seen(run(RandomSearcher(space, population=15, allowed=allowed)))
    else:
        start = next(a for a in map(space.sample, map(random.Random, range(20))) if allowed(a))
        settings: dict[str, Any] = {"population": 5, "mutations": 5, "crossovers": 5}
        found = seen(
            run(
                EvolutionSearcher(
                    space, **settings, generations=2, allowed=allowed, initial=[start]
                )
            )
        )
        assert found[0] == start
    assert len(found) == 15
    assert all(map(allowed, found))
