"""Predicted scores: the model by itself, its search, and the best change without new scores."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from tests.searchers.test_searchers_guided import run, seen, separable

from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.searchers import PredictorSearcher, RidgeEnsemble, best_predicted, neighbours
from vitsearch.searchers.neighbours import Neighbourhood
from vitsearch.searchers.predictor import best_changes

SPACES = ["glit", "vitas", "vit_resnas"]


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[Architecture]:
    rng = random.Random(seed)
    return list(dict.fromkeys(space.sample(rng) for _ in range(count)))


@pytest.mark.parametrize("name", SPACES)
def test_it_learns_what_options_are_worth(name: str) -> None:
    space = build_space(name)
    score = separable(space, 0)
    known, others = drawn(space, 150), drawn(space, 100, seed=1)
    model = RidgeEnsemble(space, members=8).fit(known, list(map(score, known)))
    predicted = model.predict(others)
    assert predicted.shape == (8, len(others))
    truth = list(map(score, others))
    assert np.corrcoef(predicted.mean(axis=0), truth)[0, 1] > 0.9
    assert len({tuple(row) for row in predicted.tolist()}) == 8  # members differ


def test_it_learns_what_costs_are_worth_from_few_scores() -> None:
    space = build_space("hr_nas")
    model = CostModel(space)

    def score(architecture: Architecture) -> float:
        return math.log(model.cost(architecture).macs)

    known, others = drawn(space, 40), drawn(space, 50, seed=1)
    predictor = RidgeEnsemble(space).fit(known, list(map(score, known)))
    predicted = predictor.predict(others).mean(axis=0)
    assert np.corrcoef(predicted, list(map(score, others)))[0, 1] > 0.9


def test_predictions_follow_shifts_and_scales_of_the_scores() -> None:
    space = build_space("glit")
    known, others = drawn(space, 60), drawn(space, 30, seed=1)
    scores = np.array(list(map(separable(space, 0), known)))
    first = RidgeEnsemble(space).fit(known, scores.tolist()).predict(others)
    for scale, shift in ((1e-3, 0.5), (1e4, -3.0)):
        moved = RidgeEnsemble(space).fit(known, (scale * scores + shift).tolist())
        assert np.allclose(moved.predict(others), scale * first + shift, atol=1e-6 * scale)


def test_the_same_seed_gives_the_same_members() -> None:
    space = build_space("glit")
    known = drawn(space, 40)
    scores = list(map(separable(space, 0), known))
    first, same, other = (RidgeEnsemble(space, seed=s).fit(known, scores) for s in (0, 0, 1))
    assert np.array_equal(first.predict(known), same.predict(known))
    assert not np.array_equal(first.predict(known), other.predict(known))
    again = first.fit(known[:20], scores[:20]).fit(known, scores)  # nothing stays
    assert np.array_equal(again.predict(known), same.predict(known))


def test_one_score_and_equal_scores_predict_themselves() -> None:
    space = build_space("vitas")
    known = drawn(space, 20)
    one = RidgeEnsemble(space).fit(known[:1], [0.7])
    assert np.allclose(one.predict(known), 0.7)
    equal = RidgeEnsemble(space).fit(known, [0.25] * len(known))
    assert np.allclose(equal.predict(known), 0.25)
    assert equal.predict([]).shape == (10, 0)


def test_scores_that_cannot_be_learnt_from() -> None:
    space = build_space("glit")
    known = drawn(space, 3)
    for scores in ([0.1, math.nan, 0.3], [0.1, math.inf, 0.3]):
        with pytest.raises(ConfigError, match="2 of 3 are finite"):
            RidgeEnsemble(space).fit(known, scores)
    with pytest.raises(ConfigError, match="0 of 0"):
        best_predicted(space, {}, known[0])
    with pytest.raises(ConfigError, match="members=0"):
        RidgeEnsemble(space, members=0)
    with pytest.raises(SpaceError):
        RidgeEnsemble(space).fit(drawn(build_space("vitas"), 2), [0.1, 0.2])


@pytest.mark.parametrize("name", SPACES)
def test_the_best_change_without_new_scores(name: str) -> None:
    space = build_space(name)
    score = separable(space, 3)
    known = drawn(space, 300)
    history = [(a, score(a)) for a in known]
    near = Neighbourhood(space)
    for start in drawn(space, 3, seed=9):
        (found,) = best_predicted(space, history, start)
        changes = {*near.singles(start), *near.doubles(start, random.Random(0), 10**6)}
        gains = sorted((score(a) - score(start) for a in changes), reverse=True)
        assert found in changes
        assert score(found) - score(start) > 0.8 * gains[0] > 0
        ranked = best_predicted(space, dict(history), start, n=20)
        assert ranked[0] == found
        assert len(set(ranked)) == 20


def test_changes_that_are_not_allowed_do_not_count() -> None:
    space = build_space("glit")
    model = CostModel(space)
    start = drawn(space, 1, seed=4)[0]
    cost = model.cost(start)

    def cheaper(architecture: Architecture) -> bool:
        other = model.cost(architecture)
        return other.macs <= cost.macs and other.params <= cost.params

    known = drawn(space, 60)
    by_macs = RidgeEnsemble(space).fit(known, [model.cost(a).macs / 1e6 for a in known])
    ranked = best_changes(by_macs, start, n=30, allowed=cheaper)
    assert len(ranked) == 30
    assert all(map(cheaper, ranked))
    assert best_changes(by_macs, start, allowed=lambda _: False, n=30) == [start]
    single = best_changes(by_macs, start, n=10**6, most=0)
    assert set(single) == {start, *neighbours(space, start)}
    with pytest.raises(SpaceError):
        best_changes(by_macs, build_space("vitas").smallest())
    with pytest.raises(ConfigError, match="n=0"):
        best_changes(by_macs, start, n=0)


def test_the_search_finds_what_thousands_of_random_ones_do_not() -> None:
    space = build_space("vitas")
    score = separable(space, 0)
    search = PredictorSearcher(space, population=20, generations=6, pool=200)
    found = seen(run(search, score))
    assert len(found) == 70
    assert max(map(score, found)) > max(map(score, drawn(space, 3000)))


def test_windows_that_are_measured_are_asked_for_picks_alone() -> None:
    space = build_space("glit")
    asked = []

    def latency(architecture: Architecture) -> float:
        asked.append(architecture)
        return CostModel(space).cost(architecture).macs / 1e6

    low, high = 6.0, 9.0
    search = PredictorSearcher(
        space,
        Constraint(latency_ms=(low, high)),
        population=10,
        generations=3,
        batch=5,
        pool=300,
        measure={"latency_ms": latency},
    )
    found = seen(run(search, separable(space, 0)))
    assert len(found) == 20
    assert len(asked) == len(set(asked)) <= 10 * 31 + 10 * 20
    assert all(low <= CostModel(space).cost(a).macs / 1e6 <= high for a in found)
