from __future__ import annotations

import random
from itertools import pairwise

import pytest

from vitsearch import build_space
from vitsearch.samplers import (
    BalancedSampler,
    BucketSampler,
    SandwichSampler,
    StratifiedSampler,
    UniformSampler,
    step_rng,
)

SPACE = build_space("glit")
TINY = build_space("glit_tiny")
SAMPLERS = [UniformSampler, SandwichSampler, BalancedSampler, BucketSampler, StratifiedSampler]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_pure_function_of_space_seed_step_and_rank(kind):
    def draw(seed=0, step=0, rank=0, space=SPACE):
        return kind(seed=seed).sample(space, num_architectures=4, step=step, rank=rank)

    expected = draw(3, 5, 1)
    for architecture in expected:
        SPACE.validate(architecture)
    random.seed(1)  # neither global randomness nor earlier calls matter
    sampler = kind(seed=3)
    for step in range(5):
        sampler.sample(SPACE, num_architectures=2, step=step)
    assert sampler.sample(SPACE, num_architectures=4, step=5, rank=1) == expected
    assert draw(3, 5, 1, build_space("glit")) == expected


@pytest.mark.parametrize("kind", SAMPLERS)
def test_seed_step_and_rank_all_matter(kind):
    drawn = {
        tuple(kind(seed=seed).sample(SPACE, num_architectures=4, step=step, rank=rank))
        for seed in range(4)
        for step in range(10)
        for rank in range(4)
    }
    assert len(drawn) == 4 * 10 * 4


def test_draws_never_change():
    # Runs go on after an update of the library only if they do not.
    rng = step_rng(0, 0, 0)
    assert [rng.randrange(1000) for _ in range(3)] == [513, 555, 316]
    (architecture,) = UniformSampler().sample(TINY, num_architectures=1, step=7)
    assert architecture.digest == "8250aa2cb3fe"
    drawn = BalancedSampler().sample(TINY, num_architectures=2, step=7)
    assert [architecture.digest for architecture in drawn] == ["cdbe5dc1f10e", "1f81e288fd8b"]
    drawn = BucketSampler().sample(TINY, num_architectures=2, step=7)
    assert [architecture.digest for architecture in drawn] == ["3c83e240db47", "b76aac7ce391"]


def test_neighbouring_steps_are_unrelated():
    draws = [step_rng(0, step, 0).random() for step in range(4000)]
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.03)
    pairs = pairwise(draws)
    covariance = sum((a - 0.5) * (b - 0.5) for a, b in pairs) / len(draws)
    assert covariance == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_global_randomness_is_left_alone(kind):
    random.seed(7)
    state = random.getstate()
    kind().sample(SPACE, num_architectures=4, step=3)
    assert random.getstate() == state


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_as_many_as_asked_for(kind, count):
    assert len(kind().sample(SPACE, num_architectures=count, step=2)) == count


@pytest.mark.parametrize("count", [2, 3, 4])
def test_sandwich_holds_both_ends(count):
    for step in range(5):
        drawn = SandwichSampler().sample(SPACE, num_architectures=count, step=step, rank=1)
        assert drawn[:2] == [SPACE.largest(), SPACE.smallest()]


def test_sandwich_of_one_alternates():
    drawn = [SandwichSampler().sample(SPACE, num_architectures=1, step=step) for step in range(4)]
    assert drawn == [[SPACE.largest()], [SPACE.smallest()]] * 2


def test_uniform_draws_are_the_spaces_own():
    rng = step_rng(2, 9, 1)
    expected = [SPACE.sample(rng) for _ in range(3)]
    assert UniformSampler(seed=2).sample(SPACE, num_architectures=3, step=9, rank=1) == expected


@pytest.mark.parametrize("kind", SAMPLERS)
def test_space_with_nothing_to_choose(kind):
    fixed = SPACE.restrict(SPACE.smallest())
    drawn = kind().sample(fixed, num_architectures=3, step=0)
    assert drawn == [SPACE.smallest()] * 3
