"""What a sampler is: which architectures a training step trains, as a pure function.

The architectures depend on the space, the sampler's seed, the step and the rank, on nothing else:
a resumed run and every process of a distributed one agree without saved state.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vitsearch.spaces import Architecture, SearchSpace


class Sampler(Protocol):
    """Decides which architectures a step trains."""

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """The architectures of one step on one rank, each for its share of the batch."""


@runtime_checkable
class Unsettled(Protocol):
    """A sampler that has something to find out about a space before it draws from it."""

    def settled(self, space: SearchSpace, *, num_classes: int) -> Sampler:
        """The sampler that knows, for this space or a part of it."""


def settle(sampler: Sampler, space: SearchSpace, *, num_classes: int) -> Sampler:
    """A sampler ready for a training: what it finds out about the space, it finds out here, once.

    Args:
        sampler: Any sampler; most are ready as they are.
        space: The whole space, also if the first epochs train a part of it.
        num_classes: Of the classifier that is trained.
    """
    if isinstance(sampler, Unsettled):
        return sampler.settled(space, num_classes=num_classes)
    return sampler


def step_rng(seed: int, step: int, rank: int) -> random.Random:
    """A generator that depends on these three numbers alone, on every machine."""
    return random.Random(f"{seed}/{step}/{rank}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformSampler:
    """Every choice drawn independently and uniformly; one architecture a step is "single path".

    Attributes:
        seed: Start of the random numbers.
    """

    seed: int = 0

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """`num_architectures` independent draws."""
        rng = step_rng(self.seed, step, rank)
        return [space.sample(rng) for _ in range(num_architectures)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandwichSampler:
    """The largest, the smallest, and random ones between them, each on its share of the batch.

    It trains the ends of the space in every step; uniform draws almost never reach them. Source:
    Universally Slimmable Networks (ICCV 2019), section 3.3.

    Attributes:
        seed: Start of the random numbers.
    """

    seed: int = 0

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """Largest first, smallest second, then random draws; one alone alternates the ends."""
        rng = step_rng(self.seed, step, rank)
        ends = [space.largest(), space.smallest()]
        if num_architectures == 1:
            return [ends[step % 2]]
        return ends + [space.sample(rng) for _ in range(num_architectures - 2)]
