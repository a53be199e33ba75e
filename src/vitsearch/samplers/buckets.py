"""Small and large networks equally often: draws from buckets of MACs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from vitsearch.costs import Constraint, CostModel
from vitsearch.errors.checks import check_whole
from vitsearch.samplers.base import step_rng
from vitsearch.samplers.within import draw_within
from vitsearch.spaces import Architecture, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSampler:
    """Takes turns between buckets of MACs, from the smallest to the largest network of the space.

    Independent draws add up to much the same MACs every time; the cheap and the expensive networks
    are practically never trained. Here every bucket has its turn equally often. Each spans the same
    factor, not the same number of MACs, as budgets do: those that ViTAS was published for are 0.83,
    0.96, 1.3, 2.7 and 4.9 G.

    Inside a bucket the draws are those of `draw_within`: the space's own where they reach it, walks
    towards it otherwise. Which buckets can be reached is found out once for each space; the turn of
    one that cannot goes to the nearest. MACs are those without the classifier.

    Attributes:
        num_buckets: How many.
        seed: Start of the random numbers.
    """

    num_buckets: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            ConfigError: It is not 1 or more.
        """
        check_whole("sampler.num_buckets", self.num_buckets, 1)

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """One architecture of each of the buckets whose turn it is; ranks start one apart."""
        rng = step_rng(self.seed, step, rank)
        buckets = _buckets(space, self.num_buckets)
        first = step * num_architectures + rank
        turns = range(first, first + num_architectures)
        return [buckets.draw(turn % self.num_buckets, rng) for turn in turns]


@dataclass(frozen=True, slots=True)
class _Buckets:
    """The buckets of one space.

    Attributes:
        windows: From small to large.
        reached: The numbers of those that draws reach.
    """

    model: CostModel
    windows: tuple[Constraint, ...]
    reached: tuple[int, ...]

    def draw(self, wanted: int, rng: random.Random) -> Architecture:
        """An architecture of a bucket, or of the nearest one that tries reach."""
        for number in sorted(self.reached, key=lambda number: abs(number - wanted)):
            for found in draw_within(self.model, self.windows[number], 1, rng):
                return found
        return self.model.space.sample(rng)


@lru_cache(maxsize=16)  # a space for each epoch of a warm-up
def _buckets(space: SearchSpace, num_buckets: int) -> _Buckets:
    low, high = [space.extreme("macs", largest=end)[1].macs for end in (False, True)]
    edges = [round(low * (high / low) ** (part / num_buckets)) for part in range(num_buckets + 1)]
    edges[-1] += 1  # each ends before the next begins, the last after the largest network
    windows = [Constraint(macs=(a, max(a, b - 1))) for a, b in pairwise(edges)]
    model = CostModel(space, 0)
    reached = [
        number
        for number, window in enumerate(windows)
        if draw_within(model, window, 1, random.Random(0))
    ]
    return _Buckets(model, tuple(windows), tuple(reached))
