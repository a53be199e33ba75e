"""Every bucket of MACs has its turn equally often; what cannot be reached goes to the nearest."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from vitsearch import build_space, list_spaces
from vitsearch.costs import CostModel
from vitsearch.errors import ConfigError
from vitsearch.samplers import BucketSampler, UniformSampler
from vitsearch.samplers.buckets import _buckets


def buckets_of(space, architectures, num_buckets):
    """Which bucket each lies in: equal factors between the ends of the space."""
    model = CostModel(space, 0)
    low, high = (model.cost(a).macs for a in (space.smallest(), space.largest()))
    edges = [low * (high / low) ** (part / num_buckets) for part in range(num_buckets + 1)]
    macs = [model.cost(a).macs for a in architectures]
    return [max(sum(m >= round(edge) for edge in edges[:-1]) - 1, 0) for m in macs]


@pytest.mark.parametrize("name", list_spaces())
def test_buckets_are_drawn_equally_often_on_every_space(name):
    space, sampler = build_space(name), BucketSampler()
    drawn = [
        architecture
        for step in range(3)
        for architecture in sampler.sample(space, num_architectures=4, step=step)
    ]
    for architecture in drawn:
        space.validate(architecture)
    assert Counter(buckets_of(space, drawn, 4)) == dict.fromkeys(range(4), 3)
    assert len(set(drawn)) > 6


@pytest.mark.parametrize(("count", "num_buckets"), [(1, 3), (2, 3), (4, 3), (5, 2), (3, 1)])
def test_turns_go_round_over_steps(count, num_buckets):
    space, sampler = build_space("autoformer"), BucketSampler(num_buckets=num_buckets)
    drawn = []
    for step in range(2 * num_buckets):
        drawn += sampler.sample(space, num_architectures=count, step=step)
    expected = [turn % num_buckets for turn in range(len(drawn))]
    assert buckets_of(space, drawn, num_buckets) == expected


def test_ranks_train_different_buckets():
    space, sampler = build_space("autoformer"), BucketSampler()
    drawn = [sampler.sample(space, num_architectures=1, step=0, rank=rank)[0] for rank in range(4)]
    assert buckets_of(space, drawn, 4) == [0, 1, 2, 3]


def test_uniform_draws_leave_buckets_out():
    # What the sampler is for: alone, draws hardly ever reach the ends.
    space = build_space("glit_tiny")
    drawn = UniformSampler().sample(space, num_architectures=200, step=0)
    assert len(set(buckets_of(space, drawn, 4))) < 4


def test_a_bucket_that_holds_nothing_gives_its_turn_to_the_nearest():
    space = build_space("vitas", num_blocks=1, patch_sizes=[4], embed_dims=[48])
    found = _buckets(space, 30)
    assert 0 < len(found.reached) < 30
    sampler = BucketSampler(num_buckets=30)
    drawn = sampler.sample(space, num_architectures=30, step=0)
    for turn, bucket in enumerate(buckets_of(space, drawn, 30)):
        assert bucket in found.reached
        assert abs(bucket - turn) == min(abs(number - turn) for number in found.reached)


def test_buckets_lie_side_by_side_between_the_ends():
    space = build_space("vit_resnas")
    found = _buckets(space, 5)
    windows = [window.macs for window in found.windows]
    assert windows[0][0] == found.model.cost(space.smallest()).macs
    assert windows[-1][1] == found.model.cost(space.largest()).macs
    for (_, high), (low, _) in pairwise(windows):
        assert low == high + 1
    factors = [high / low for low, high in windows]
    assert max(factors) / min(factors) < 1.001


def test_what_a_space_reaches_is_found_out_once():
    _buckets.cache_clear()
    sampler = BucketSampler()
    for step in range(3):
        sampler.sample(build_space("autoformer"), num_architectures=2, step=step)
    assert _buckets.cache_info().misses == 1


def test_earlier_calls_do_not_matter():
    space = build_space("glit")
    expected = BucketSampler(seed=3).sample(space, num_architectures=3, step=4, rank=1)
    _buckets.cache_clear()
    assert BucketSampler(seed=3).sample(space, num_architectures=3, step=4, rank=1) == expected


@pytest.mark.parametrize("num_buckets", [0, -1, 1.5, "4", None])
def test_number_of_buckets_out_of_range(num_buckets):
    with pytest.raises(ConfigError, match="must be a whole number, 1 or more") as info:
        BucketSampler(num_buckets=num_buckets)
    assert f"sampler.num_buckets={num_buckets}" in str(info.value)
