"""An end of the space and networks of every size: draws from equal ranges of MACs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from vitsearch.costs import Constraint, CostModel
from vitsearch.errors.checks import check_number, check_whole
from vitsearch.samplers.base import step_rng
from vitsearch.samplers.within import draw_within
from vitsearch.spaces import Architecture, SearchSpace

_SMALL = 20  # of so many equal ranges the lowest has the smallest networks


@dataclass(frozen=True, slots=True, kw_only=True)
class StratifiedSampler:
    """One end first: the largest network every few steps, else one of the smallest; others between.

    For a supernet that begins with a trained network: its largest architecture has to keep what it
    knows, not to learn it, so it takes fewer steps than in a sandwich. The others of a step come
    from equal ranges of MACs between the ends, one from each, because independent draws add up to
    much the same MACs every time. Networks below the floor are not trained: where every branch may
    be left out, the smallest network of the space is none. MACs are those without the classifier.

    Attributes:
        largest_every: The largest is first in one of so many steps.
        floor: The least MACs of what is trained, as a share of the largest network's.
        seed: Start of the random numbers.
    """

    largest_every: int = 4
    floor: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        """Check both numbers.

        Raises:
            ConfigError: One is out of range.
        """
        check_whole("sampler.largest_every", self.largest_every, 1)
        check_number("sampler.floor", self.floor, "[0, 1)")

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """An end of the space, then one architecture of each range, from small to large."""
        rng = step_rng(self.seed, step, rank)
        strata, count = _strata(space, self.floor), num_architectures - 1
        end = strata.small(rng) if step % self.largest_every else space.largest()
        return [end, *(strata.draw(number, count, rng) for number in range(count))]


@dataclass(frozen=True, slots=True)
class _Strata:
    """The MACs of a space.

    Attributes:
        low: The least that is trained.
        high: Of the largest network.
        smallest: The smallest network, if it is trained.
    """

    model: CostModel
    low: float
    high: float
    smallest: Architecture | None

    def small(self, rng: random.Random) -> Architecture:
        """The smallest network, or one with the least MACs that are trained."""
        return self.draw(0, _SMALL, rng) if self.smallest is None else self.smallest

    def draw(self, number: int, count: int, rng: random.Random) -> Architecture:
        """An architecture of one of `count` ranges; any if tries do not reach it."""
        step = (self.high - self.low) / count
        window = Constraint(macs=(self.low + number * step, self.low + (number + 1) * step))
        for found in draw_within(self.model, window, 1, rng):
            return found
        return self.model.space.sample(rng)


@lru_cache(maxsize=16)  # a space for each epoch that it grows in
def _strata(space: SearchSpace, floor: float) -> _Strata:
    smallest, least = space.extreme("macs", largest=False)
    high = space.extreme("macs", largest=True)[1].macs
    if least.macs < floor * high:
        return _Strata(CostModel(space, 0), floor * high, float(high), None)
    return _Strata(CostModel(space, 0), float(least.macs), float(high), smallest)
