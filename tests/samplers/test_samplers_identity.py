"""The probability of identities: given, or searched once for a budget."""

from __future__ import annotations

import random

import pytest

from vitsearch import build_space
from vitsearch.costs import CostModel, cost_table
from vitsearch.errors import ConfigError, ConstraintError, SpaceError
from vitsearch.samplers import (
    BalancedSampler,
    IdentitySampler,
    SandwichSampler,
    UniformSampler,
    find_identity_probability,
    settle,
)
from vitsearch.samplers.identity import _searched

VITAS = build_space("vitas", min_depth=0)
SMALL = build_space("vitas_small")
WINDOW = ("900M", "1G")


def mean_macs(space, n=2000, num_classes=1000):
    rng = random.Random(99)
    return cost_table(space, [space.sample(rng) for _ in range(n)], num_classes)["macs"].mean()


@pytest.mark.parametrize("window", [WINDOW, ("1.4G", "1.5G"), (None, "500M"), ("1.5G", None)])
def test_the_mean_of_sampled_networks_meets_the_window(window):
    found = find_identity_probability(SMALL, window, random.Random(0))
    assert found == round(found, 2)
    low, high = (None if b is None else float(b[:-1]) * {"M": 1e6, "G": 1e9}[b[-1]] for b in window)
    mean = mean_macs(SMALL.with_identity_probability(found))
    assert low is None or mean > 0.97 * low
    assert high is None or mean < 1.03 * high


def test_the_search_starts_in_the_middle_and_stops_at_once():
    assert find_identity_probability(VITAS, (0, None), random.Random(0)) == 0.5


def test_a_measure_of_ones_own():
    def depth(architecture):
        return architecture["stages.0.depth"]

    found = find_identity_probability(VITAS, (4.4, 4.6), random.Random(0), measure=depth)
    assert found == pytest.approx(0.25, abs=0.03)  # 6 blocks, of which 1.5 are identities


def test_the_classifier_counts():
    bias = 100 * CostModel(VITAS, 0).cost(VITAS.largest()).macs
    classes = bias // 48
    found = find_identity_probability(
        VITAS, (bias / 2, None), random.Random(0), num_classes=classes
    )
    assert found == 0.5
    with pytest.raises(ConstraintError, match="no value between 0 and 1"):
        find_identity_probability(VITAS, (bias / 2, None), random.Random(0), num_classes=0)


def test_a_window_between_two_hundredths():
    with pytest.raises(ConstraintError, match=r"jumps over the window .* widen it") as info:
        find_identity_probability(SMALL, (1e9, 1e9 + 1), random.Random(0))
    assert "\n" not in str(info.value)


def test_a_window_beyond_the_space_names_it():
    with pytest.raises(ConstraintError, match=r"space vitas a mean in .*; near 0 it is") as info:
        find_identity_probability(VITAS, ("9G", None), random.Random(0))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("inner", [UniformSampler(seed=4), BalancedSampler(seed=4)])
def test_it_is_the_other_sampler_in_a_changed_space(inner):
    sampler = IdentitySampler(identity_probability=0.7, sampler=inner)
    found = sampler.sample(VITAS, num_architectures=5, step=3, rank=1)
    changed = VITAS.with_identity_probability(0.7)
    assert found == inner.sample(changed, num_architectures=5, step=3, rank=1)
    for architecture in found:
        VITAS.validate(architecture)


def test_depths_follow_the_probability():
    for probability in (0.2, 0.5, 0.9):
        sampler = IdentitySampler(identity_probability=probability)
        drawn = sampler.sample(VITAS, num_architectures=2000, step=0)
        mean = sum(a["stages.0.depth"] for a in drawn) / 2000
        assert mean == pytest.approx(6 * (1 - probability), abs=0.12)


def test_ends_stay_the_spaces():
    sampler = IdentitySampler(identity_probability=0.9, sampler=SandwichSampler())
    drawn = sampler.sample(VITAS, num_architectures=3, step=0)
    assert drawn[:2] == [VITAS.largest(), VITAS.smallest()]


def test_a_window_is_searched_once():
    _searched.cache_clear()
    sampler = IdentitySampler(identity_probability=["900M", "1G"], seed=5)
    drawn = [sampler.sample(SMALL, num_architectures=400, step=step) for step in range(3)]
    assert _searched.cache_info().misses == 1
    for architectures in drawn:
        macs = cost_table(SMALL, architectures)["macs"].mean()
        assert macs == pytest.approx(0.95e9, rel=0.15)
    expected = find_identity_probability(SMALL, WINDOW, random.Random(5))
    given = IdentitySampler(identity_probability=expected)
    assert drawn[2] == given.sample(SMALL, num_architectures=400, step=2)


def test_settled_for_the_whole_space_it_draws_from_a_part_as_often():
    # During a warm-up only the widest are drawn, whose mean may lie beyond every window.
    sampler = IdentitySampler(identity_probability=WINDOW, sampler=BalancedSampler())
    settled = settle(sampler, SMALL, num_classes=10)
    assert isinstance(settled, IdentitySampler)
    expected = find_identity_probability(SMALL, WINDOW, random.Random(0), num_classes=10)
    assert settled.identity_probability == expected
    part = SMALL.restrict({"*.embed_dim": 384, "*.qkv_width": 1440})
    drawn = settled.sample(part, num_architectures=1000, step=0)
    depth = sum(a["stages.0.depth"] for a in drawn) / 1000
    assert depth == pytest.approx(16 * (1 - expected), abs=0.25)


def test_samplers_that_need_nothing_are_ready():
    for sampler in (UniformSampler(seed=2), SandwichSampler(), BalancedSampler()):
        assert settle(sampler, VITAS, num_classes=10) is sampler


def test_spaces_without_identities_are_refused():
    for probability in (0.5, WINDOW):
        sampler = IdentitySampler(identity_probability=probability)
        for use in (
            lambda s: s.sample(build_space("glit"), num_architectures=1, step=0),
            lambda s: settle(s, build_space("glit"), num_classes=10),
        ):
            with pytest.raises(SpaceError, match="space glit has no identity_probability") as info:
                use(sampler)
            assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "between 0 and 1, or a window"),
        (1, "between 0 and 1, or a window"),
        (-0.5, "between 0 and 1, or a window"),
        (True, "between 0 and 1, or a window"),
        (None, "between 0 and 1, or a window"),
        ("0.5", "between 0 and 1, or a window"),
        ([1], "two bounds"),
        ([2, 1], "lower bound comes first"),
        (["much", None], "is no bound"),
    ],
)
def test_values_out_of_range(value, words):
    with pytest.raises(ConfigError, match=words) as info:
        IdentitySampler(identity_probability=value)
    assert "sampler.identity_probability" in str(info.value)
    assert "\n" not in str(info.value)
