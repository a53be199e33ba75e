"""Prices, weights and the strength of the penalty, against what the authors' code gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitsearch.shrinking.progressive.penalty import (
    cost_target,
    follow_gap,
    mean_price,
    penalty_weights,
    rho_of_step,
)

GOLDEN = Path(__file__).parents[2] / "fixtures" / "hr_nas_penalties.json"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())


def prices_and_units(golden: dict[str, Any]) -> tuple[dict[str, float], dict[str, int]]:
    """Of kinds of units that cost the same, all of them together under one name."""
    prices, units = {}, {}
    for macs, channels, _, times in golden["branches"]:
        prices[f"channel {macs} {channels}"] = macs
        units[f"channel {macs} {channels}"] = channels * times
    for macs, tokens, _, times in golden["transformers"]:
        prices[f"token {macs}"] = macs / tokens
        units[f"token {macs}"] = tokens * times
    return prices, units


def test_the_mean_and_the_weights_are_the_authors(golden: dict[str, Any]) -> None:
    prices, units = prices_and_units(golden)
    assert sum(units.values()) == 47_952 + 44 * 64
    mean = mean_price(prices, units)
    assert mean == pytest.approx(golden["mean"], rel=1e-9)  # they add 1e-5 to the number of units
    weights = penalty_weights(prices, golden["mean"])
    for macs, channels, penalty, _ in golden["branches"]:
        assert weights[f"channel {macs} {channels}"] == pytest.approx(penalty, rel=1e-12)


@pytest.mark.parametrize("tokens", [64, 32, 1])
def test_the_weight_of_a_token_falls_with_their_number(golden: dict[str, Any], tokens: int) -> None:
    macs, first, penalty, _ = golden["transformers"][0]
    expected = penalty if tokens == first else golden["first_transformers"][str(tokens)][0]
    of_others = (macs - 128 * first**2) / first
    price = of_others + 128 * (tokens**2 - (tokens - 1) ** 2)
    weight = penalty_weights({"tokens": price}, golden["mean"])["tokens"]
    assert weight == pytest.approx(expected, rel=1e-12)


def test_rho_rises_as_published(golden: dict[str, Any]) -> None:
    for step, rho in golden["rho_of_step"].items():
        assert rho_of_step(int(step), 1.8e-4, 25 * 100) == pytest.approx(rho, rel=1e-12)
    assert rho_of_step(0, 1.8e-4, 0) == 1.8e-4


def test_units_without_a_price_have_no_weight() -> None:
    assert penalty_weights({"a": 0.0}, mean_price({"a": 0.0}, {"a": 3})) == {"a": 0.0}


def test_the_schedule_is_a_line_that_ends_early() -> None:
    found = [cost_target(step, 100, start=10, end=4, reached=0.5) for step in (0, 25, 50, 51, 100)]
    assert found == [10, 7, 4, 4, 4]


def test_rho_follows_the_gap_within_limits() -> None:
    assert follow_gap(1e-3, 1e-3, 0.0) == 1e-3
    assert follow_gap(1e-3, 1e-3, 0.1) == pytest.approx(1.1e-3)
    assert 0 < follow_gap(1e-3, 1e-3, -5.0) < 1e-3
    rho = 1e-3
    for _ in range(50):
        rho = follow_gap(rho, 1e-3, 0.5)
    assert rho == pytest.approx(0.01)
