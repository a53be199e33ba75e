"""What a given architecture may become, as the condition that searchers keep."""

from __future__ import annotations

import random

from vitsearch.spaces import Architecture
from vitsearch.transitions import Transitions


class Reachable:
    """Whether an architecture is reached from a given one; and random ones that are."""

    def __init__(self, transitions: Transitions, given: Architecture) -> None:
        self._transitions, self._given = transitions, given

    def __call__(self, architecture: Architecture) -> bool:
        """Whether some walk leads there."""
        return self._transitions.allows(self._given, architecture)

    def draw(self, rng: random.Random) -> Architecture:
        """The end of a walk that takes every valid option of a decision equally often."""
        walk = self._transitions.walk(self._given)
        try:
            decision = next(walk)
            while True:
                decision = walk.send(rng.choice(decision.valid))
        except StopIteration as end:
            found: Architecture = end.value
            return found
