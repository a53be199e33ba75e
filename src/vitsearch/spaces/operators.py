"""Sampling, mutation and crossover: always legal, always canonical, by asking choice by choice."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.choice import Choice, Value

if TYPE_CHECKING:
    from vitsearch.spaces.space import SearchSpace


def draw(choice: Choice, rng: random.Random) -> Value:
    """An option at random, by the choice's weights."""
    if choice.weights is None:
        return choice.options[int(rng.random() * len(choice.options))]
    return rng.choices(choice.options, choice.weights)[0]


def sample(space: SearchSpace, rng: random.Random) -> Architecture:
    """Draw every active choice independently."""
    return space.complete(lambda choice: draw(choice, rng))


def mutate(
    space: SearchSpace,
    architecture: Architecture,
    prob: float | Mapping[str, float],
    rng: random.Random,
) -> Architecture:
    """Draw each active choice again with probability `prob`; newly active ones are drawn too.

    `prob` is one number for all choices, or one for each choice by its name.
    """

    def pick(choice: Choice) -> Value:
        kept = architecture.get(choice.name)
        chance = prob[choice.name] if isinstance(prob, Mapping) else prob
        if kept is None or rng.random() < chance:
            return draw(choice, rng)
        return kept

    return space.complete(pick)


def crossover(
    space: SearchSpace, first: Architecture, second: Architecture, rng: random.Random
) -> Architecture:
    """Take each choice from a parent at random; from the one that has it where only one has."""

    def pick(choice: Choice) -> Value:
        parents = (first, second) if rng.random() < 0.5 else (second, first)
        for parent in parents:
            if choice.name in parent:
                return parent[choice.name]
        return draw(choice, rng)

    return space.complete(pick)
