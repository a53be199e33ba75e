"""An end of the space and networks of every size: draws from equal ranges of MACs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from vitsearch.costs import Constraint, CostModel
from vitsearch.errors.checks import check_whole
from vitsearch.samplers.base import step_rng
from vitsearch.samplers.within import draw_within
from vitsearch.spaces import Architecture, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class StratifiedSampler:
    """One end of the space first: the largest every few steps, else the smallest; others between.

    For a supernet that begins with a trained network: its largest architecture has to keep what it
    knows, not to learn it, so it takes fewer steps than in a sandwich. The others of a step come
    from equal ranges of MACs between the ends, one from each, because independent draws add up to
    much the same MACs every time. MACs are those without the classifier.

    Attributes:
        largest_every: The largest is first in one of so many steps.
        seed: Start of the random numbers.
    """

    largest_every: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            ConfigError: It is not 1 or more.
        """
        check_whole("sampler.largest_every", self.largest_every, 1)

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """An end of the space, then one architecture of each range, from small to large."""
        rng = step_rng(self.seed, step, rank)
        end = space.smallest() if step % self.largest_every else space.largest()
        count = num_architectures - 1
        strata = _strata(space)
        return [end, *(strata.draw(number, count, rng) for number in range(count))]


@dataclass(frozen=True, slots=True)
class _Strata:
    """The MACs of a space.

    Attributes:
        low: Of its smallest network.
        high: Of its largest.
    """

    model: CostModel
    low: float
    high: float

    def draw(self, number: int, count: int, rng: random.Random) -> Architecture:
        """An architecture of one of `count` ranges; any if tries do not reach it."""
        step = (self.high - self.low) / count
        window = Constraint(macs=(self.low + number * step, self.low + (number + 1) * step))
        for found in draw_within(self.model, window, 1, rng):
            return found
        return self.model.space.sample(rng)


@lru_cache(maxsize=16)  # a space for each epoch that it grows in
def _strata(space: SearchSpace) -> _Strata:
    low, high = [space.extreme("macs", largest=end)[1].macs for end in (False, True)]
    return _Strata(CostModel(space, 0), float(low), float(high))
