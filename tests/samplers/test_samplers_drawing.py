"""Rows that numpy draws are architectures of the space, as often as the space's own draws."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from vitsearch import build_space, list_spaces
from vitsearch.costs import Constraint, CostModel, cost_table
from vitsearch.costs.rows import RowFormat
from vitsearch.samplers.drawing import bit_generator, draw_rows, drawn_within

SPACES = {name: build_space(name) for name in list_spaces()} | {
    "side by side": build_space("vit_resnas", skippable=[[1], [0, 1, 2], [0, 1]]),
    "many identities": build_space("vitas").with_identity_probability(0.7),
    "restricted weights": build_space("vitas").restrict({"*.depth": [2, 3, 6]}),
}
DEMOS = ["glit", "vitas", "vit_resnas", "autoformer", "side by side", "restricted weights"]


def rows_of(space, n, seed=0):
    return draw_rows(RowFormat(space), n, bit_generator(random.Random(seed)))


def architectures_of(space, n, seed=0):
    rows = RowFormat(space)
    return [rows.decode(row) for row in rows_of(space, n, seed).T.tolist()]


@pytest.mark.parametrize("name", SPACES)
def test_draws_are_legal_and_canonical(name):
    space = SPACES[name]
    for architecture in architectures_of(space, 60):
        space.validate(architecture)
        assert space.canonical(architecture) == architecture


def counts_of(space, architectures):
    """How often each choice has each option, or takes no part."""
    return {c.name: Counter(a.get(c.name) for a in architectures) for c in space.choices}


def chi_square(first, second):
    """Two samples of equal size: the statistic and its degrees of freedom."""
    values = [v for v in first.keys() | second.keys() if first[v] + second[v] >= 10]
    total = sum((first[v] - second[v]) ** 2 / (first[v] + second[v]) for v in values)
    return total, max(len(values) - 1, 0)


@pytest.mark.parametrize("name", SPACES)
def test_options_are_as_frequent_as_in_the_spaces_own_draws(name):
    space, rng, n = SPACES[name], random.Random(1), 1500
    own = counts_of(space, [space.sample(rng) for _ in range(n)])
    rows = counts_of(space, architectures_of(space, n))
    found = [chi_square(own[c.name], rows[c.name]) for c in space.choices]
    total, freedom = (sum(column) for column in zip(*found, strict=True))
    assert total < freedom + 4 * (2 * freedom) ** 0.5 + 4, (total, freedom)
    for choice, (value, degrees) in zip(space.choices, found, strict=True):
        assert value < degrees + 6 * (2 * degrees) ** 0.5 + 6, choice.name


@pytest.mark.parametrize("name", DEMOS)
def test_costs_are_distributed_as_in_the_spaces_own_draws(name):
    # Sums over all choices, so choices that were drawn together would show. Kolmogorov-Smirnov.
    space, rng, n = SPACES[name], random.Random(2), 2000
    own = np.sort(cost_table(space, [space.sample(rng) for _ in range(n)])["macs"])
    model = CostModel(space)
    rows = np.sort(model.rows.costs(rows_of(space, n))[:, 0])
    everywhere = np.concatenate((own, rows))
    shares = [np.searchsorted(sample, everywhere, side="right") / n for sample in (own, rows)]
    assert np.abs(shares[0] - shares[1]).max() < 1.95 * (2 / n) ** 0.5


def test_weights_are_kept():
    space = SPACES["many identities"]
    depths = rows_of(space, 4000)[RowFormat(space).index("stages.0.depth")]
    weights = np.array(space.choice("stages.0.depth").weights)
    shares = np.bincount(depths, minlength=len(weights)) / 4000
    assert np.abs(shares - weights / weights.sum()).max() < 0.03


@pytest.mark.parametrize("name", DEMOS)
def test_draws_do_not_depend_on_how_many_are_made_at_once(name):
    rows, n = RowFormat(SPACES[name]), 40
    bits = bit_generator(random.Random(3))
    pieces = [draw_rows(rows, size, bits) for size in (1, 0, 7, 32)]
    whole = draw_rows(rows, n, bit_generator(random.Random(3)))
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


def test_draws_never_change():
    # The same on every machine, and after an update, or a search would not go on as it began.
    digests = [a.digest for a in architectures_of(SPACES["vitas_small"], 3)]
    assert digests == ["09a37f52bd16", "856045761c70", "b2c5b28ba179"]


@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas"])
def test_within_a_budget_are_exactly_the_draws_inside(name):
    space = SPACES[name]
    model = CostModel(space, 10)
    macs = np.sort(model.rows.costs(rows_of(space, 500))[:, 0])
    constraint = Constraint(macs=(float(macs[100]), float(macs[300])), params=(1, None))
    drawn = architectures_of(space, 700, seed=9)
    inside = [a for a in drawn if constraint.holds(space.plan(a).cost(10))]
    found = list(drawn_within(model, constraint, 700, random.Random(9)))
    assert found == list(dict.fromkeys(inside))


def test_global_randomness_is_left_alone():
    random.seed(7)
    np.random.seed(7)
    before = random.getstate(), np.random.get_state()[1].tolist()
    rows_of(SPACES["glit"], 10)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
