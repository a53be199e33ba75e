"""Walks of transformations, driven by answers, at random, or all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product

from vitsearch import Architecture, SearchSpace
from vitsearch.transitions import Decision, Transitions, Walk, outcomes

Answer = Callable[[Decision], int]


def driven(walk: Walk, answer: Answer) -> Architecture:
    try:
        decision = next(walk)
        while True:
            decision = walk.send(answer(decision))
    except StopIteration as end:
        found: Architecture = end.value
        return found


def at_random(walk: Walk, rng: random.Random) -> Architecture:
    return driven(walk, lambda decision: rng.choice(decision.valid))


def staying(walk: Walk) -> Architecture:
    def stay(decision: Decision) -> int:
        assert decision.stay in decision.valid, decision
        return int(decision.stay)  # type: ignore[arg-type]

    return driven(walk, stay)


def all_walks(
    transitions: Transitions, given: Architecture
) -> Iterator[tuple[tuple[int, ...], Architecture]]:
    """Every sequence of answers, and where it leads."""
    sequences: list[tuple[int, ...]] = [()]
    while sequences:
        answers = sequences.pop()
        found = outcomes(transitions.walk(given), answers)
        if isinstance(found, Decision):
            sequences += [(*answers, number) for number in found.valid]
        else:
            yield answers, found


def everything(space: SearchSpace) -> Iterator[Architecture]:
    """All architectures of a small space."""
    names = [choice.name for choice in space.choices]
    found = {}
    for values in product(*(choice.options for choice in space.choices)):
        found[space.canonical(dict(zip(names, values, strict=True)))] = None
    yield from found
