from __future__ import annotations

import random
import time
from itertools import product

import pytest

from vitsearch import build_space
from vitsearch.costs import Constraint, CostModel, cost_table, reachable_range
from vitsearch.costs.rows import RowFormat
from vitsearch.errors import ConstraintError
from vitsearch.samplers import draw_within, sample_within
from vitsearch.samplers.drawing import bit_generator, draw_rows

GLIT = build_space("glit", **{"mixer.qkv_expansions": [0.5, 1, 2]})
LOW, HIGH = reachable_range(GLIT, "macs", 1000)
TINY = build_space("glit_tiny")
SMALL = build_space("glit", num_blocks=1)
SPACES = {"glit": GLIT, "glit_tiny": TINY}


def brute_force(space):
    genotypes = product(*(choice.options for choice in space.choices))
    names = [choice.name for choice in space.choices]
    return {space.canonical(dict(zip(names, values, strict=True))) for values in genotypes}


def check(space, constraint, n, rng, num_classes=1000):
    """Draw, and check everything that is promised."""
    found = sample_within(space, constraint, n, rng, num_classes=num_classes)
    assert len(found) == len(set(found)) == n
    table = cost_table(space, found, num_classes)
    for metric, (low, high) in constraint.windows().items():
        assert low <= table[metric].min()
        assert table[metric].max() <= high
    for architecture in found:
        space.validate(architecture)
    return found


@pytest.mark.parametrize("name", SPACES)
def test_without_a_budget_it_is_plain_sampling(name):
    rows = RowFormat(SPACES[name])
    drawn = draw_rows(rows, 20, bit_generator(random.Random(0)))
    expected = [rows.decode(row) for row in drawn.T.tolist()]
    assert sample_within(SPACES[name], Constraint(), 20, random.Random(0)) == expected


@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("name", SPACES)
def test_narrow_windows_across_the_whole_space(name, metric):
    space, rng = SPACES[name], random.Random(0)
    low, high = reachable_range(space, metric, 1000)
    width = (high - low) * 0.02
    for position in (0.02, 0.05, 0.2, 0.5, 0.8):
        start = low + (high - low) * position - width / 2
        check(space, Constraint(**{metric: (start, start + width)}), 5, rng)


@pytest.mark.parametrize(
    ("name", "metric", "position", "width"),
    [
        ("glit", "macs", 0.97, 0.005),
        ("glit", "params", 0.95, 0.02),
    ],
)
def test_narrow_windows_near_the_upper_end(name, metric, position, width):
    # Thousands of architectures lie in each of these windows.
    space, rng = SPACES[name], random.Random(0)
    low, high = reachable_range(space, metric, 1000)
    start = low + (high - low) * (position - width / 2)
    window = (start, start + (high - low) * width)
    check(space, Constraint(**{metric: window}), 5, rng)


@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("name", SPACES)
def test_the_very_ends_are_found(name, metric):
    space, rng = SPACES[name], random.Random(0)
    low, high = reachable_range(space, metric, 1000)
    for end, largest in ((low, False), (high, True)):
        (found,) = check(space, Constraint(**{metric: (end, end)}), 1, rng)
        assert found == space.extreme(metric, largest=largest)[0]


def test_both_metrics_at_once():
    low, high = reachable_range(TINY, "macs", 1000)
    fewest, most = reachable_range(TINY, "params", 1000)
    macs = (low + 0.3 * (high - low), low + 0.35 * (high - low))
    params = (fewest + 0.3 * (most - fewest), fewest + 0.4 * (most - fewest))
    check(TINY, Constraint(macs=macs, params=params), 10, random.Random(0))


def test_papers_window():
    # GLiT-Tiny's own cost, to within a percent.
    check(TINY, Constraint(macs=("1.458G", "1.488G")), 50, random.Random(0))


def test_classifier_counts():
    low, high = reachable_range(SMALL, "params", 10)
    check(SMALL, Constraint(params=(low, (low + high) / 2)), 5, random.Random(0), num_classes=10)


def test_deterministic_and_without_global_randomness():
    constraint = Constraint(macs=("1.2G", "1.25G"))
    random.seed(3)
    state = random.getstate()
    first = sample_within(TINY, constraint, 5, random.Random(4))
    assert random.getstate() == state
    assert sample_within(TINY, constraint, 5, random.Random(4)) == first
    assert sample_within(TINY, constraint, 5, random.Random(5)) != first


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_unreachable_window_names_the_range(metric):
    low, high = reachable_range(TINY, metric, 1000)
    with pytest.raises(ConstraintError, match=f"{low} to {high} {metric}") as info:
        sample_within(TINY, Constraint(**{metric: (high + 1, None)}), 1, random.Random(0))
    assert "glit_tiny" in str(info.value)
    assert "\n" not in str(info.value)


def test_all_of_a_small_space():
    everything = brute_force(SMALL)
    assert set(sample_within(SMALL, Constraint(), 36, random.Random(0))) == everything
    model = CostModel(SMALL)
    macs = sorted(model.cost(architecture).macs for architecture in everything)
    constraint = Constraint(macs=(macs[5], macs[20]))
    inside = {a for a in everything if constraint.holds(model.cost(a))}
    assert set(sample_within(SMALL, constraint, len(inside), random.Random(0))) == inside


@pytest.mark.parametrize(
    ("space", "constraint", "n", "words"),
    [
        (SMALL, Constraint(), 37, "found 36 of 37"),
        (GLIT, Constraint(macs=(None, LOW)), 3, "found 1 of 3"),
        (GLIT, Constraint(macs=(LOW + 1, LOW + 2)), 3, "found 0 of 3"),
        (GLIT, Constraint(macs=(None, LOW * 1.05), params=(350_000, None)), 2, "found 0 of 2"),
    ],
    ids=["more than exist", "more than in the window", "a gap", "windows that exclude each other"],
)
def test_too_few_ends_after_bounded_time(space, constraint, n, words):
    start = time.perf_counter()
    with pytest.raises(ConstraintError, match=words) as info:
        sample_within(space, constraint, n, random.Random(0))
    assert time.perf_counter() - start < 20
    assert "\n" not in str(info.value)
    assert "widen the window or ask for fewer" in str(info.value)


def test_known_architectures_are_not_drawn_again():
    model, rng = CostModel(SMALL), random.Random(0)
    first = draw_within(model, Constraint(), 20, rng)
    second = draw_within(model, Constraint(), 36, rng, known=set(first))
    assert len(second) == 16
    assert not set(first) & set(second)


def test_none_asked_for():
    assert sample_within(GLIT, Constraint(), 0, random.Random(0)) == []
