"""Draws inside windows on measured costs, with a made-up machine."""

from __future__ import annotations

import random

import pytest

from vitsearch import build_space
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConstraintError
from vitsearch.samplers import draw_measured, draw_within, sample_within

SPACE = build_space("glit")
MODEL = CostModel(SPACE)


class Machine:
    """A latency that depends on MACs and on nothing random; counts what it is asked."""

    def __init__(self, window):
        self.low, self.high = window
        self.asked = []

    def latency(self, architecture):
        waves = int(architecture.digest[:4], 16) / 16**4
        return MODEL.cost(architecture).macs / 1e6 * (1 + waves / 4)

    def excess(self, architecture):
        self.asked.append(architecture)
        value = self.latency(architecture)
        return max(self.low - value, 0) + max(value - self.high, 0)


def draw(window, n, constraint=None, seed=0, **more):
    machine = Machine(window)
    found = draw_measured(
        MODEL,
        constraint or Constraint(),
        n,
        random.Random(seed),
        excess=machine.excess,
        **more,
    )
    assert len(set(found)) == len(found) <= n
    assert all(machine.low <= machine.latency(a) <= machine.high for a in found)
    for architecture in found:
        SPACE.validate(architecture)
    return found, machine


def test_wide_windows_are_plain_draws():
    found, machine = draw((0, 1e9), 12)
    assert found == draw_within(MODEL, Constraint(), 12, random.Random(0))
    assert machine.asked == found


@pytest.mark.parametrize("window", [(9.5, 10), (13, 13.5), (14, 14.5)])
def test_narrow_windows_are_reached_by_walking(window):
    found, machine = draw(window, 10)
    assert len(found) == 10
    assert len(machine.asked) == len(set(machine.asked)) <= 10 * 31


def test_only_what_closed_forms_let_through_is_measured():
    constraint = Constraint(macs=("8M", "9M"))
    found, machine = draw((9, 10), 5, constraint)
    assert len(found) == 5
    assert all(constraint.holds(MODEL.cost(a)) for a in machine.asked)


def test_tries_are_bounded():
    found, machine = draw((1000, 2000), 4)
    assert found == []
    assert 0 < len(machine.asked) <= 4 * 31
    assert draw((0, 1), 0)[0] == []


def test_small_spaces_end():
    small = build_space("glit", num_blocks=1)
    model, rng = CostModel(small), random.Random(0)
    found = draw_measured(model, Constraint(), 50, rng, excess=lambda a: 0.0)
    assert len(found) == 36


def test_known_architectures_are_neither_drawn_nor_measured():
    first, _ = draw((9.5, 10), 10)
    again, machine = draw((9.5, 10), 10, known=set(first))
    assert not set(first) & {*again, *machine.asked}


def test_deterministic():
    assert draw((9.5, 10), 6, seed=3)[0] == draw((9.5, 10), 6, seed=3)[0]
    assert draw((9.5, 10), 6, seed=3)[0] != draw((9.5, 10), 6, seed=4)[0]


def test_sampling_by_closed_forms_refuses_measured_windows():
    with pytest.raises(ConstraintError, match=r"constraint\.latency_ms is measured"):
        sample_within(SPACE, Constraint(latency_ms=(1, 2)), 1, random.Random(0))
