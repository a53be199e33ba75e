"""Regularised evolution: the oldest architectures die, not the worst.

Source: Regularized Evolution for Image Classifier Architecture Search (AAAI 2019), section
"Evolutionary Algorithm" and Algorithm 1.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.searchers.neighbours import neighbourhood
from vitsearch.spaces import Architecture, SearchSpace

_TRIES = 100  # for each child, before a random architecture takes its place


class RegularizedEvolutionSearcher(GenerationalSearcher):
    """Evolution whose population is a queue by age.

    A child is the winner of a tournament with one choice changed; it joins the queue, and the
    oldest member dies. So an architecture that was lucky once is forgotten.

    Attributes:
        candidates: How many are scored in all.
        sample_size: Members of a tournament.
        batch: Children a generation.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        candidates: int = 500,
        population: int = 100,
        sample_size: int = 25,
        batch: int = 1,
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
            candidates: How many architectures are scored in all.
            population: Random architectures in the first generation, and members of the queue.
            sample_size: Members that a tournament draws, with replacement; the best is the parent.
            batch: Children a generation: all have their parents in the same population, so
                that several processes can score them, and as many of the oldest die. 1 is
                the paper's.
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
        self.candidates = check_whole("searcher.candidates", candidates, 1)
        self.sample_size = check_whole("searcher.sample_size", sample_size, 1)
        self.batch = check_whole("searcher.batch", batch, 1)
        if check_whole("searcher.population", population, 1) > candidates:
            raise ConfigError(
                f"searcher.population={population} must be at most searcher.candidates={candidates}"
            )
        super().__init__(
            space,
            constraint,
            population=population,
            generations=1 + -(-(candidates - population) // batch),
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            initial=initial,
            allowed=allowed,
        )
        self._near = neighbourhood(space)

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        return max(self.candidates, len(self._initial))

    def _children(self, rng: random.Random) -> list[Candidate]:
        wanted = min(self.batch, self.candidates - len(self._scores))
        scored = self.scored()
        alive = list(scored)[-self.population :]
        ranks = {a: rank for rank, a in enumerate(self._ranked({a: scored[a] for a in alive}))}
        children: dict[Architecture, Candidate] = {}
        for _ in range(_TRIES * wanted if alive else 0):
            if len(children) == wanted:
                break
            parent = min(rng.choices(alive, k=self.sample_size), key=ranks.__getitem__)
            child = self._near.random_change(parent, rng)
            is_new = child is not None and child not in self._scores and child not in children
            if child is not None and is_new and self.budget.holds(child):
                children |= {c.architecture: c for c in self._new("mutation", [child], parent)}
        missing = max(wanted - len(children), 0)
        drawn = self.budget.draw(missing, rng, known={*self._scores, *children}) if missing else []
        return [*children.values(), *self._new("random", drawn)]
