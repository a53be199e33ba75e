"""Every option of every choice equally often within a step."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from vitsearch.samplers.base import step_rng
from vitsearch.spaces import Architecture, Choice, SearchSpace, Value

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedSampler:
    """The architectures of a step share out the options of each choice equally.

    Each architecture alone is a random draw as any other, but those of one step complement each
    other. Choice by choice, in the order of the space, the options are dealt in random order to
    those architectures of the step (and rank) in which the choice takes part:

    - Options are dealt equally often; where their number does not divide the number of these
      architectures, some options, at random, are dealt once more than the others.
    - An option with a weight is dealt in proportion to it, rounded up or down at random, so that it
      is as frequent on average as in other draws.
    - A choice that takes no part in an architecture is absent from it, and it is balanced over the
      others: of eight networks of which four keep a block, each of four options is in one of them.

    Source: Searching for Efficient Multi-Stage Vision Transformers (ViT-ResNAS), section 3.2.

    Attributes:
        seed: Start of the random numbers.
    """

    seed: int = 0

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """`num_architectures` architectures, balanced among themselves."""
        rng = step_rng(self.seed, step, rank)
        effective: list[dict[str, Value | None]] = [{} for _ in range(num_architectures)]
        taken: list[dict[str, Value]] = [{} for _ in range(num_architectures)]
        for choice in space.choices:
            active = [index for index, known in enumerate(effective) if choice.is_active(known)]
            for known in effective:
                known[choice.name] = choice.otherwise
            for index, value in zip(active, deal(choice, len(active), rng), strict=True):
                effective[index][choice.name] = taken[index][choice.name] = value
        return [Architecture(values) for values in taken]


def deal(choice: Choice, n: int, rng: random.Random) -> list[Value]:
    """`n` options in random order, each as often as the others, or as its weight says."""
    if choice.weights is None:
        rounds, extra = divmod(n, len(choice.options))
        return shuffled([*choice.options * rounds, *shuffled(choice.options, rng)[:extra]], rng)
    # Systematic sampling: n points at equal distances, the options side by side as long as heavy.
    dealt: list[Value] = []
    start, end = rng.random(), 0.0
    for option, weight in shuffled(list(zip(choice.options, choice.weights, strict=True)), rng):
        end += weight / sum(choice.weights) * n
        dealt += [option] * (math.ceil(end - start) - len(dealt))
    return shuffled((dealt + [choice.options[-1]] * n)[:n], rng)  # a point may be lost to rounding


def shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    """A permutation at random; the same in every version of Python, unlike `random.shuffle`'s."""
    position = [rng.random() for _ in items]
    return [items[index] for index in sorted(range(len(items)), key=position.__getitem__)]
