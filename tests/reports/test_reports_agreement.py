"""Rank correlations against values by hand, brute force and scipy; intervals against the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.reports.facts.agreement import (
    MEASURES,
    estimate,
    estimate_difference,
    kendall_tau_b,
    partial_tau_of_counts,
    precision_at,
    resample_counts,
    rho_of_counts,
    spearman_rho,
    tau_b_of_counts,
)

CORRELATIONS = {"kendall_tau_b": kendall_tau_b, "spearman_rho": spearman_rho}
both = pytest.mark.parametrize("correlation", CORRELATIONS.values(), ids=CORRELATIONS)
scores = st.lists(st.integers(0, 6), min_size=2, max_size=12)
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


def tau_by_hand(x: list[float], y: list[float]) -> float:
    """Concordant minus discordant pairs over the geometric mean of pairs untied in x and in y."""
    score = untied_x = untied_y = 0
    for i, j in combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        score += a * b
        untied_x += a != 0
        untied_y += b != 0
    return float(score / math.sqrt(untied_x * untied_y)) if untied_x and untied_y else math.nan


def rho_by_hand(x: list[float], y: list[float]) -> float:
    """The correlation of midranks."""

    def midranks(values: list[float]) -> list[float]:
        return [sum(v < w for v in values) + (values.count(w) + 1) / 2 for w in values]

    if len(set(x)) == 1 or len(set(y)) == 1:
        return math.nan
    return float(np.corrcoef(midranks(x), midranks(y))[0, 1])


BY_HAND = {"kendall_tau_b": tau_by_hand, "spearman_rho": rho_by_hand}


def test_values_from_the_textbook() -> None:
    assert kendall_tau_b([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    # One pair tied in x: 5 of 6 pairs are untied there; 4 concordant, 1 discordant.
    assert kendall_tau_b([1, 1, 2, 3], [1, 2, 4, 3]) == pytest.approx(3 / math.sqrt(5 * 6))
    assert spearman_rho([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman_rho([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8207826817)


@both
@given(values=scores)
def test_a_ranking_agrees_with_itself(
    correlation: Callable[..., float], values: list[float]
) -> None:
    same, reversed_ = correlation(values, values), correlation(values, [-v for v in values])
    if len(set(values)) == 1:
        assert math.isnan(same)
        assert math.isnan(reversed_)
    else:
        assert same == pytest.approx(1, abs=1e-12)
        assert reversed_ == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
@given(drawn=pairs)
def test_equal_to_the_definition(name: str, drawn: list[tuple[float, float]]) -> None:
    x, y = ([pair[side] for pair in drawn] for side in (0, 1))
    expected = BY_HAND[name](x, y)
    assert CORRELATIONS[name](x, y) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert CORRELATIONS[name](y, x) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    stretched = [3.5 * v + 0.1 * v**3 for v in x]  # only the order counts
    assert CORRELATIONS[name](stretched, y) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", MEASURES)
def test_equal_to_scipy(name: str) -> None:
    stats: Any = pytest.importorskip("scipy.stats")
    reference = {"kendall_tau_b": stats.kendalltau, "spearman_rho": stats.spearmanr}[name]
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(3, 30))
        x, y = rng.integers(0, 9, (2, n)).astype(float)
        if len(set(x)) > 1 and len(set(y)) > 1:
            assert CORRELATIONS[name](x, y) == pytest.approx(reference(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
@settings(deadline=None)
@given(drawn=pairs, seed=st.integers(0, 100))
def test_counts_are_repetitions(name: str, drawn: list[tuple[float, float]], seed: int) -> None:
    x, y = (np.array([pair[side] for pair in drawn], dtype=float) for side in (0, 1))
    counts = resample_counts(len(x), 3, seed)
    assert (counts.sum(axis=1) == len(x)).all()
    for row, found in zip(counts, MEASURES[name](x, y, counts), strict=True):
        chosen = np.repeat(np.arange(len(x)), row.astype(int))
        expected = BY_HAND[name](x[chosen].tolist(), y[chosen].tolist())
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def normal_pairs(seed: int, n: int, correlation: float) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = correlation * x + math.sqrt(1 - correlation**2) * rng.normal(size=n)
    return x.tolist(), y.tolist()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    correlation, tries = 0.6, 100
    truth = {
        "kendall_tau_b": 2 / math.pi * math.asin(correlation),
        "spearman_rho": 6 / math.pi * math.asin(correlation / 2),
    }
    for name, measure in MEASURES.items():
        hits = 0
        for seed in range(tries):
            found = estimate(
                measure, *normal_pairs(seed, 24, correlation), resample_counts(24, 400, seed)
            )
            assert found.low <= found.value <= found.high
            hits += found.low <= truth[name] <= found.high
        assert 89 <= hits <= 100, (name, hits)


def test_differences_are_paired() -> None:
    """A better ranking is told from a worse one although their own intervals overlap."""
    n = 24
    rng = np.random.default_rng(0)
    truth = rng.normal(size=n)
    good = (truth + 0.5 * rng.normal(size=n)).tolist()
    worse = (np.array(good) + 1.2 * rng.normal(size=n)).tolist()
    counts = resample_counts(n, 2000)
    first, second = (estimate(tau_b_of_counts, x, truth.tolist(), counts) for x in (good, worse))
    difference = estimate_difference(tau_b_of_counts, good, worse, truth.tolist(), counts)
    assert difference.value == pytest.approx(first.value - second.value)
    assert second.high > first.low
    assert difference.low > 0
    assert difference.high - difference.low < (first.high - first.low) + (second.high - second.low)
    nothing = estimate_difference(rho_of_counts, good, good, truth.tolist(), counts)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_same_draws_give_the_same_interval() -> None:
    x, y = normal_pairs(1, 10, 0.3)
    assert (resample_counts(10, 50, 3) == resample_counts(10, 50, 3)).all()
    assert (resample_counts(10, 50, 3) != resample_counts(10, 50, 4)).any()
    first, second = (estimate(tau_b_of_counts, x, y, resample_counts(10, 50)) for _ in range(2))
    assert first == second


def test_what_is_undefined_is_null_in_json() -> None:
    counts = resample_counts(3, 20)
    constant = estimate(tau_b_of_counts, [1, 1, 1], [1, 2, 3], counts)
    assert constant.to_dict() == {"value": None, "low": None, "high": None}
    difference = estimate_difference(tau_b_of_counts, [1, 1, 1], [1, 2, 3], [1, 2, 3], counts)
    assert difference.to_dict() == {"value": None, "low": None, "high": None}


@given(st.permutations(range(7)), st.permutations(range(7)), st.integers(1, 7))
def test_precision_by_brute_force(predicted: list[int], truth: list[int], k: int) -> None:
    common = sum(item in truth[:k] for item in predicted[:k])
    assert precision_at(k, predicted, truth) == common / k
    assert precision_at(k, predicted, predicted) == 1
    assert precision_at(7, predicted, truth) == 1


triples = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12
)


def partial_tau(x: list[float], y: list[float], z: list[float]) -> float:
    """Of each item once."""
    given = np.array(x, dtype=float), np.array(y, dtype=float)
    return float(partial_tau_of_counts(z)(*given, np.ones((1, len(x))))[0])


@settings(max_examples=200, deadline=None)
@given(triples)
def test_partial_tau_is_that_of_its_formula(drawn: list[tuple[int, int, int]]) -> None:
    x, y, z = (list(map(float, column)) for column in zip(*drawn, strict=True))
    xy, xz, yz = tau_by_hand(x, y), tau_by_hand(x, z), tau_by_hand(y, z)
    found = partial_tau(x, y, z)
    if math.isnan(xy * xz * yz) or min(1 - xz**2, 1 - yz**2) < 1e-9:
        assert math.isnan(found)
    else:
        expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
        assert found == pytest.approx(expected, abs=1e-9)
        assert -1 <= found <= 1


def test_partial_tau_at_its_ends() -> None:
    x, z = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 3.0, 5.0, 4.0]
    assert partial_tau(x, x, z) == pytest.approx(1)
    assert partial_tau(x, x[::-1], z) == pytest.approx(-1)
    for same in (z, z[::-1]):  # what z alone decides says nothing besides z
        assert math.isnan(partial_tau(same, x, z))
        assert math.isnan(partial_tau(x, same, z))


def test_the_interval_of_a_partial_tau_is_over_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=30)
    y = z + rng.normal(size=30)
    x = y + rng.normal(size=30)
    found = estimate(partial_tau_of_counts(z), x, y, resample_counts(30, 400))
    assert found.low < found.value < found.high
    assert found.low > 0
    assert kendall_tau_b(x, y) > found.value


def test_infinities_are_equal_to_each_other_and_below_everything() -> None:
    x = [-math.inf, 1.0, -math.inf, 2.0]
    assert kendall_tau_b(x, [0, 1, 0, 2]) == 1
    assert kendall_tau_b(x, [0, 1, 2, 3]) == pytest.approx(
        kendall_tau_b([0, 1, 0, 2], [0, 1, 2, 3])
    )
