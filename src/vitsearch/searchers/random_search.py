"""Random search: what every other search has to beat at the same number of evaluations."""

from __future__ import annotations

import random

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.spaces import SearchSpace


class RandomSearcher(GenerationalSearcher):
    """Distinct random architectures inside the budget, all in one generation.

    With the same seed they are the first generation of the other searchers, and more like it.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        population: int = 100,
        seed: int = 0,
        num_classes: int = 1000,
        measure: Measures | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        """Set up a search.

        Args:
            space: Where to search.
            constraint: The budget; none by default.
            population: How many architectures.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost in the budget, what measures an architecture.
            allowed: A further condition that every candidate meets.

        Raises:
            ConfigError: A number is out of range.
            ConstraintError: The space does not reach the budget.
        """
        super().__init__(
            space,
            constraint,
            population=population,
            generations=1,
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            allowed=allowed,
        )

    @property
    def num_candidates(self) -> int:
        """How many candidates the search scores, at most."""
        return self.population

    def _children(self, rng: random.Random) -> list[Candidate]:
        raise AssertionError("random search has one generation")
