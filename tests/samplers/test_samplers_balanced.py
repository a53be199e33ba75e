"""Within a step, options are dealt as equally as the number of architectures allows."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch import build_space, list_spaces
from vitsearch.samplers import BalancedSampler
from vitsearch.samplers.balanced import deal, shuffled
from vitsearch.spaces import Choice

SPACES = {name: build_space(name) for name in list_spaces()} | {
    "side by side": build_space("vit_resnas", skippable=[[1], [0, 1, 2], [0, 1]]),
    "restricted": build_space("glit").restrict({"*.global_heads": [0, 1, 3]}),
}


def drawn(space, count, step=0, seed=0):
    return BalancedSampler(seed=seed).sample(space, num_architectures=count, step=step)


def counts_of(choice, architectures):
    taken = Counter(a[choice.name] for a in architectures if choice.name in a)
    return [taken[option] for option in choice.options]


@pytest.mark.parametrize("name", SPACES)
def test_multiples_of_the_number_of_options_are_shared_equally(name):
    space = SPACES[name]
    always = [c for c in space.choices if not c.active_when and c.weights is None]
    for rounds in (1, 3):
        for choice in {len(c.options): c for c in always}.values():
            count = rounds * len(choice.options)
            architectures = drawn(space, count, step=rounds)
            for same in always:
                if count % len(same.options) == 0:
                    assert set(counts_of(same, architectures)) == {count // len(same.options)}
    assert always


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12, 40])
@pytest.mark.parametrize("name", SPACES)
def test_where_a_choice_takes_part_its_options_differ_by_one_at_most(name, count):
    space = SPACES[name]
    for step in range(3):
        architectures = drawn(space, count, step)
        for architecture in architectures:
            space.validate(architecture)
        for choice in space.choices:
            counts = counts_of(choice, architectures)
            if choice.weights is None:
                assert max(counts) - min(counts) <= 1, choice.name
            else:
                for taken, weight in zip(counts, choice.weights, strict=True):
                    assert abs(taken - count * weight / sum(choice.weights)) < 1 + 1e-9


def test_half_of_the_networks_keep_a_skippable_block():
    space = SPACES["vit_resnas_tiny"]
    keeps = [choice for choice in space.choices if choice.name.endswith(".keep")]
    assert len(keeps) == 9
    for step in range(5):
        architectures = drawn(space, 8, step)
        for choice in keeps:
            assert counts_of(choice, architectures) == [4, 4]
            heads = space.choice(choice.name.replace("keep", "num_heads"))
            assert counts_of(heads, architectures) == [1, 1, 1, 1]  # of the four that keep it


@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas", "autoformer", "side by side"])
def test_one_of_them_is_drawn_as_the_space_draws(name):
    space, rng, n = SPACES[name], random.Random(0), 1500
    own = [space.sample(rng) for _ in range(n)]
    balanced = [drawn(space, 6, step)[step % 6] for step in range(n)]
    for choice in space.choices:
        for option in choice.options:
            shares = [sum(a.get(choice.name) == option for a in x) / n for x in (own, balanced)]
            error = math.sqrt((2 * shares[0] * (1 - shares[0]) + 1e-3) / n)
            assert abs(shares[0] - shares[1]) < 4.5 * error, (choice.name, option)


def test_choices_are_permuted_independently():
    # Two choices of three options, three architectures: each of 36 pairs of orders as often.
    space = SPACES["autoformer"]
    names = ["stages.0.blocks.0.num_heads", "stages.0.blocks.0.mlp_ratio"]
    pairs = Counter()
    for step in range(3600):
        architectures = drawn(space, 3, step)
        pairs[tuple(tuple(a[name] for a in architectures) for name in names)] += 1
    assert len(pairs) == 36
    statistic = sum((count - 100) ** 2 / 100 for count in pairs.values())
    assert statistic < 35 + 4 * math.sqrt(2 * 35)


@given(st.integers(1, 9), st.integers(0, 50), st.integers(0, 2**32))
def test_which_options_are_dealt_once_more_is_random(options, n, seed):
    choice = Choice(name="x", options=tuple(range(options)))
    counts = Counter(deal(choice, n, random.Random(seed)))
    assert sum(counts.values()) == n
    assert {counts[option] for option in range(options)} <= {n // options, -(-n // options)}


def test_every_option_is_the_one_dealt_once_more():
    choice, rng = Choice(name="x", options=(1, 2, 3)), random.Random(0)
    more = Counter(Counter(deal(choice, 4, rng)).most_common(1)[0][0] for _ in range(3000))
    assert all(abs(count - 1000) < 120 for count in more.values())
    assert len(more) == 3


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda w: sum(w) > 1e-3),
    st.integers(0, 40),
    st.integers(0, 2**32),
)
def test_weights_are_met_to_within_one(weights, n, seed):
    choice = Choice(name="x", options=tuple(range(len(weights))), weights=tuple(weights))
    dealt = deal(choice, n, random.Random(seed))
    assert len(dealt) == n
    for option, weight in enumerate(weights):
        assert abs(dealt.count(option) - n * weight / sum(weights)) < 1 + 1e-6


def test_weights_are_met_on_average():
    weights = (0.05, 0.6, 0.35)
    choice, rng = Choice(name="x", options=(0, 1, 2), weights=weights), random.Random(0)
    total = Counter(option for _ in range(4000) for option in deal(choice, 3, rng))
    for option, weight in enumerate(weights):
        assert total[option] / 12000 == pytest.approx(weight, abs=0.012)


def test_permutations_are_uniform():
    rng = random.Random(0)
    orders = Counter(tuple(shuffled("abc", rng)) for _ in range(6000))
    assert len(orders) == 6
    assert all(abs(count - 1000) < 130 for count in orders.values())


def test_ranks_and_steps_differ():
    space = SPACES["glit"]
    first = [BalancedSampler().sample(space, num_architectures=4, step=0, rank=r) for r in (0, 1)]
    assert first[0] != first[1]
    assert all(a != b for a, b in pairwise(drawn(space, 4, step) for step in range(5)))
