"""Evolutionary search as in GLiT, ViTAS, ViT-ResNAS and AutoFormer.

A random first generation, then mutations and crossovers of the best architectures of the whole
history, all inside the budget, none twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors.checks import check_whole
from vitsearch.searchers.breeding import BreedingSearcher, MutationProb
from vitsearch.searchers.budget import Allowed
from vitsearch.spaces import Architecture, SearchSpace


class EvolutionSearcher(BreedingSearcher):
    """Evolution over architectures inside a budget.

    Attributes:
        parents: The best of the whole history that have children.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        population: int = 50,
        generations: int = 20,
        parents: int = 10,
        mutations: int = 25,
        crossovers: int = 25,
        mutation_prob: MutationProb = 0.1,
        seed: int = 0,
        num_classes: int = 1000,
        measure: Measures | None = None,
        initial: Sequence[Architecture] = (),
        allowed: Allowed | None = None,
    ) -> None:
        """Set up a search.

        Args:
            space: Where to search.
            constraint: The budget; none by default.
            population: Random architectures in the first generation.
            generations: Generations in all, the random one included; 1 is random search.
            parents: The best of the whole history that have children.
            mutations: Children by mutation in each later generation.
            crossovers: Children by crossover in each later generation.
            mutation_prob: Chance that a mutation draws a choice again: one number, or numbers by
                patterns of names, the last that matches a choice counting (AutoFormer mutates
                depth and width more often: `{"*": 0.2, "*.depth": 0.4, "*.embed_dim": 0.4}`).
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost in the budget, what measures an architecture.
            initial: Architectures to begin with; those inside the budget are the first of the
                first generation, and as many fewer are random.
            allowed: A further condition that every candidate meets.

        Raises:
            ConfigError: A number is out of range.
            ConstraintError: The space does not reach the budget.
        """
        check_whole("searcher.parents", parents, 1)
        self.parents = parents
        super().__init__(
            space,
            constraint,
            population=population,
            generations=generations,
            mutations=mutations,
            crossovers=crossovers,
            mutation_prob=mutation_prob,
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            initial=initial,
            allowed=allowed,
        )

    def _parents(self, rng: random.Random) -> Callable[[], Architecture]:
        return partial(rng.choice, self.best(self.parents))
