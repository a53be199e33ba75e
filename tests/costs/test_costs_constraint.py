from __future__ import annotations

import math
import random
from contextlib import contextmanager

import pytest

import vitsearch
from vitsearch import Cost
from vitsearch.costs import Constraint, cost_table, human, reachable_range
from vitsearch.errors import ConstraintError

GLIT = vitsearch.build_space("glit")
TINY = vitsearch.build_space("glit_tiny")


@contextmanager
def refused(*words):
    with pytest.raises(ConstraintError) as info:
        yield
    message = str(info.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((1, 2), (1, 2)),
        (["1.2G", "1.3G"], (1.2e9, 1.3e9)),
        (("900k", "1.5 M"), (9e5, 1.5e6)),
        (("5", "6e3"), (5, 6000)),
        ((None, "2M"), (0, 2e6)),
        (("2M", None), (2e6, math.inf)),
        ((None, None), (0, math.inf)),
        ((3, 3), (3, 3)),
        ((0.5, math.inf), (0.5, math.inf)),
        (None, None),
    ],
)
def test_windows(window, expected):
    assert Constraint(macs=window).macs == expected
    assert Constraint(params=window).params == expected
    assert Constraint.from_settings({"params": window}).params == expected


@pytest.mark.parametrize(
    ("window", "word"),
    [
        (("much", None), "'much'"),
        (("G", None), "'G'"),
        (("", None), "''"),
        ((-1, 2), "-1"),
        ((math.nan, 2), "nan"),
        ((1, True), "True"),
        ((1, 2, 3), "(1, 2, 3)"),
        ((1,), "(1,)"),
        (5, "5"),
        ("1.2G", "1.2G"),
        ({"low": 1}, "{'low': 1}"),
    ],
)
def test_bad_windows(window, word):
    for metric in ("macs", "params"):
        with refused(f"constraint.{metric}", word, "bound", "null"):
            Constraint(**{metric: window})


@pytest.mark.parametrize("bound", ["1KG", "2MM", [1], {}], ids=str)
def test_rarely_bad_bounds(bound):
    with refused("constraint.macs", repr(bound)):
        Constraint(macs=(bound, None))


def test_empty_window():
    with refused("constraint.macs=[3e+06, 1e+06]", "empty", "lower bound comes first"):
        Constraint(macs=("3M", "1M"))


def test_unknown_metric():
    with refused("constraint.flops", "macs, params"):
        Constraint.from_settings({"flops": [1, 2]})


def test_both_ends_are_inside():
    constraint = Constraint(macs=(10, 20), params=(1, 5))
    for macs, params, inside in (
        (10, 1, True),
        (20, 5, True),
        (9, 3, False),
        (21, 3, False),
        (15, 0, False),
        (15, 6, False),
    ):
        assert constraint.holds(Cost(macs, params)) is inside
        assert (constraint.excess(Cost(macs, params)) == 0) is inside
        assert (constraint.violated(Cost(macs, params)) is None) is inside
    assert Constraint().holds(Cost(0, 10**12))


def test_excess_adds_relative_distances():
    constraint = Constraint(macs=(10, 20), params=(100, 200))
    assert constraint.excess(Cost(5, 150)) == pytest.approx(0.5)
    assert constraint.excess(Cost(30, 150)) == pytest.approx(0.5)
    assert constraint.excess(Cost(5, 300)) == pytest.approx(1.0)
    assert Constraint(macs=(0, 0)).excess(Cost(3, 0)) > 0
    assert Constraint(macs=(None, None)).excess(Cost(10**12, 0)) == 0


def test_violated_names_metric_and_direction():
    constraint = Constraint(macs=(10, 20), params=(100, 200))
    assert constraint.violated(Cost(5, 150)) == ("macs", True)
    assert constraint.violated(Cost(21, 150)) == ("macs", False)
    assert constraint.violated(Cost(15, 99)) == ("params", True)
    assert constraint.violated(Cost(15, 201)) == ("params", False)


@pytest.mark.parametrize("num_classes", [0, 10, 1000])
def test_reachable_range_is_exact(num_classes):
    for metric in ("macs", "params"):
        low, high = reachable_range(GLIT, metric, num_classes)
        space_ends = [GLIT.extreme(metric, largest=end)[0] for end in (False, True)]
        assert cost_table(GLIT, space_ends, num_classes)[metric].tolist() == [low, high]
        rng = random.Random(0)
        drawn = cost_table(GLIT, [GLIT.sample(rng) for _ in range(200)], num_classes)[metric]
        assert low <= drawn.min() <= drawn.max() <= high


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_unreachable_windows_name_the_exact_range(metric):
    low, high = reachable_range(TINY, metric, 1000)
    for window in ((high + 1, None), (None, low - 1), (10 * high, 20 * high)):
        constraint = Constraint(**{metric: window})
        with refused(f"constraint.{metric}=", "glit_tiny", f"{low} to {high} {metric}"):
            constraint.check_reachable(TINY, 1000)
    for window in ((high, None), (None, low), (low, high), (low + 1, low + 2)):
        Constraint(**{metric: window}).check_reachable(TINY, 1000)


def test_range_depends_on_the_classifier():
    low, _ = reachable_range(TINY, "macs", 10)
    constraint = Constraint(macs=(None, low))
    constraint.check_reachable(TINY, 10)
    with refused("glit_tiny"):
        constraint.check_reachable(TINY, 1000)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 K"),
        (1472873280, "1.47 G"),
        (285_432, "285 K"),
        (7.26e6, "7.26 M"),
    ],
)
def test_human(number, text):
    assert human(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(999_999, "1 M"), (999_700_000, "1 G"), (999.9, "1 K")]
)
def test_human_just_below_a_unit(number, text):
    assert human(number) == text


def test_text():
    assert str(Constraint()) == "none"
    assert str(Constraint(macs=("1.2G", "1.3G"))) == "MACs 1.2 G to 1.3 G"
    assert str(Constraint(params=("5M", None))) == "parameters 5 M to any"


def test_constraints_are_values():
    assert Constraint(macs=("1K", None)) == Constraint(macs=(1000, None))
    assert hash(Constraint(macs=[1, 2])) == hash(Constraint(macs=(1, 2)))
    assert Constraint(macs=(1, 2)).windows() == {"macs": (1, 2)}
