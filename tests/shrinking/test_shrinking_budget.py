"""Budgets as people write them, and windows in their place."""

from __future__ import annotations

import pytest

from vitsearch import Cost, SuperTransformer
from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.lightning.shrinking.targets import read_targets
from vitsearch.shrinking import read_budget
from vitsearch.shrinking.budget import read_budgets

FULL = Cost(macs=2_000_000, params=100_000)


@pytest.mark.parametrize(
    ("given", "macs", "name"),
    [
        (0.5, 1_000_000, "50%"),
        ("0.5", 1_000_000, "50%"),
        ("55%", 1_100_000, "55%"),
        (1, 2_000_000, "100%"),
        ("62.5 %", 1_250_000, "62.5%"),
        (1_500_000, 1_500_000, "1.5M"),
        ("1.5M", 1_500_000, "1.5M"),
        ("700k", 700_000, "700K"),
        ("2.3G", 2_300_000_000, "2.3G"),
    ],
)
def test_shares_and_macs(given: float | str, macs: float, name: str) -> None:
    budget = read_budget(given, FULL)
    assert budget.macs == pytest.approx(macs)
    assert budget.name == name


@pytest.mark.parametrize("given", ["half", "", "-0.5", 0, True, "nan", "5X", "%"])
def test_what_is_no_budget(given: object) -> None:
    with pytest.raises(ConstraintError, match=r"budgets: .* is no budget; give a share"):
        read_budget(given, FULL)  # type: ignore[arg-type]


def test_several_in_order(network: SuperTransformer) -> None:
    full = network.cost(network.largest)
    found = read_budgets(["40%", 0.75], network.space, full, 10)
    assert [budget.name for budget in found] == ["75%", "40%"]
    assert [b.name for b in read_budgets("40%", network.space, full, 10)] == ["40%"]
    with pytest.raises(ConstraintError, match="a budget twice"):
        read_budgets([0.5, "50%"], network.space, full, 10)
    with pytest.raises(ConstraintError, match="empty list"):
        read_budgets([], network.space, full, 10)
    with pytest.raises(ConstraintError, match=r"1% is .* below the smallest network \(.* of the"):
        read_budgets([0.01], network.space, full, 10)


def test_targets_of_budgets_and_of_windows(network: SuperTransformer) -> None:
    full = network.cost(network.largest)
    space = network.space
    default = read_targets(None, Constraint(), space, full, 10)
    assert [target.name for target in default.each] == ["75%", "50%"]
    low, high = default.constraint.all_windows()["macs"]
    assert low < 0.5 * full.macs
    assert high == full.macs
    both = read_targets([0.5], Constraint(params=(None, 10_000)), space, full, 10)
    assert both.each[0].constraint.all_windows().keys() == {"macs", "params"}
    windows = read_targets(None, Constraint(macs=(None, 0.5 * full.macs)), space, full, 10)
    assert windows.each[0].macs == 0.5 * full.macs
    assert windows.constraint.all_windows()["macs"][1] == 0.5 * full.macs
    slow = read_targets(None, Constraint(latency_ms=(None, 5)), space, full, 10)
    assert slow.each[0].name.startswith("latency_ms-5")
    assert slow.each[0].macs is None
    with pytest.raises(ConfigError, match=r"budgets and constraint\.macs both limit MACs"):
        read_targets([0.5], Constraint(macs=(None, "1M")), space, full, 10)
