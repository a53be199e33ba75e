"""What goes at a shrink, without any network."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.shrinking.progressive.ladder import CountedUnits, Ladder
from vitsearch.shrinking.progressive.selection import down_to, without_dead
from vitsearch.spaces import build_space

SPACE = build_space("vit_resnas", num_blocks=[2, 1, 1], skippable=None)
ANY = (0.0, float("inf"))


def make_ladder(metric: str = "macs") -> Ladder:
    units = {}
    for choice in SPACE.choices:
        if choice.name.endswith(("num_heads", "mlp_hidden")):
            counts = tuple(int(option) for option in choice.options)
            units[choice.name] = CountedUnits(
                choice=choice.name, options=choice.options, counts=counts
            )
    return Ladder(SPACE, units, metric=metric, num_classes=10)


LADDER = make_ladder()


def drawn_importance(seed: int) -> dict[str, list[float]]:
    rng = random.Random(seed)
    return {
        name: sorted((rng.random() for _ in range(units.counts[-1])), reverse=True)
        for name, units in LADDER.units.items()
    }


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_costs_of_places_are_those_of_their_architectures(seed: int) -> None:
    rng = random.Random(seed)
    place = {name: rng.randint(0, index) for name, index in LADDER.start.items()}
    plan = SPACE.plan(LADDER.architecture(place))
    assert LADDER.cost(place) == plan.cost(10).macs
    for name, index in place.items():
        if index == 0:
            assert LADDER.price(place, name) == 0
            continue
        fewer = {**place, name: index - 1}
        units = LADDER.counts(place)[name] - LADDER.counts(fewer)[name]
        saved = LADDER.cost(place) - LADDER.cost(fewer)
        assert LADDER.price(place, name) == pytest.approx(saved / units)


@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.floats(0.01, 0.2))
@settings(max_examples=40, deadline=None)
def test_going_down_ends_inside_any_window_that_can_be_reached(
    seed: int, share: float, width: float
) -> None:
    most, least = LADDER.cost(LADDER.start), LADDER.cost(LADDER.smallest())
    high = least + share * (most - least)
    window = (high * (1 - width), high)
    if not LADDER.reaches(LADDER.start, window):
        return
    importance, place = drawn_importance(seed), LADDER.start
    for target in (0.5 * (most + high), high):  # as a schedule does
        place = down_to(LADDER, place, importance, target, window)
    assert window[0] <= LADDER.cost(place) <= window[1]


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_only_the_dead_go_and_all_that_options_allow(seed: int) -> None:
    importance = drawn_importance(seed)
    place = without_dead(LADDER, LADDER.start, importance, 0.3, ANY)
    for name, count in LADDER.counts(place).items():
        alive = sum(size > 0.3 for size in importance[name])
        assert count >= alive
        option = place[name]
        assert option == 0 or LADDER.units[name].counts[option - 1] < alive


def test_the_dead_stay_where_the_window_ends() -> None:
    nothing = {name: [0.0] * units.counts[-1] for name, units in LADDER.units.items()}
    most = LADDER.cost(LADDER.start)
    window = (0.8 * most, 0.9 * most)
    place = without_dead(LADDER, LADDER.start, nothing, 1e-3, window)
    assert LADDER.cost(place) >= window[0]
    assert place != LADDER.start


def test_the_least_importance_for_the_cost_goes_first() -> None:
    importance = {name: [1.0] * units.counts[-1] for name, units in LADDER.units.items()}
    weak = "stages.1.blocks.0.mlp_hidden"
    importance[weak] = [1e-4] * len(importance[weak])
    place = down_to(LADDER, LADDER.start, importance, LADDER.cost(LADDER.start) - 1, ANY)
    changed = [name for name, index in place.items() if index != LADDER.start[name]]
    assert changed == [weak]


def test_another_metric_has_other_prices() -> None:
    by_params = make_ladder("params")
    place = by_params.start
    assert by_params.cost(place) == SPACE.plan(by_params.architecture(place)).cost(10).params


def test_what_cannot_be_reached_is_known() -> None:
    least = LADDER.cost(LADDER.smallest())
    assert not LADDER.reaches(LADDER.start, (0, least - 1))
    assert LADDER.reaches(LADDER.start, (0, least))
    assert not LADDER.reaches(LADDER.smallest(), (least + 1, least + 2))
