"""Evolutionary search as in GLiT, AutoFormer and ViT-ResNAS, and random search as its first part.

A random first generation, then mutations and crossovers of the best architectures of the whole
history, all inside the budget, none twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.samplers import draw_within
from vitsearch.searchers.base import Candidate
from vitsearch.spaces import Architecture, SearchSpace

_TRIES = 100  # for each child, before a random architecture takes its place


class EvolutionSearcher:
    """Evolution over architectures inside a budget.

    Every generation's random numbers depend on the seed and the generation alone, so a search that
    is told the same scores proposes the same architectures, also after a restart.
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
        mutation_prob: float = 0.1,
        seed: int = 0,
        num_classes: int = 1000,
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
            mutation_prob: Chance that a mutation draws a choice again.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.

        Raises:
            ConfigError: A number is out of range.
            ConstraintError: The space does not reach the budget.
        """
        for name, value, least in (
            ("population", population, 1),
            ("generations", generations, 1),
            ("parents", parents, 1),
            ("mutations", mutations, 0),
            ("crossovers", crossovers, 0),
        ):
            if not isinstance(value, int):
                raise ConfigError(f"searcher.{name}={value} must be a whole number")
            if value < least:
                raise ConfigError(f"searcher.{name}={value} must be {least} or more")
        if not 0 <= mutation_prob <= 1:
            raise ConfigError(f"searcher.mutation_prob={mutation_prob} must lie in [0, 1]")
        if generations > 1 and mutations + crossovers == 0:
            raise ConfigError("searcher.mutations and searcher.crossovers are both 0; raise one")
        self.space = space
        self.constraint = constraint or Constraint()
        self.constraint.check_reachable(space, num_classes)
        self.population = population
        self.generations = generations
        self.parents = parents
        self.mutations = mutations
        self.crossovers = crossovers
        self.mutation_prob = mutation_prob
        self.seed = seed
        self._model = CostModel(space, num_classes)
        self._scores: dict[Architecture, float] = {}
        self._generation = 0
        self._asked: list[Candidate] | None = None

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        return self.population + (self.generations - 1) * (self.mutations + self.crossovers)

    def ask(self) -> list[Candidate]:
        """The next generation; the same one until its scores are told; empty at the end.

        Raises:
            ConstraintError: No architecture inside the budget was found.
        """
        if self._asked is None:
            if self._generation >= self.generations:
                return []
            rng = random.Random(f"{self.seed}/{self._generation}")
            self._asked = self._children(rng) if self._generation else self._first(rng)
        return list(self._asked)

    def tell(self, scores: Sequence[float]) -> None:
        """Scores of the generation last asked for; larger is better."""
        asked = self._asked
        assert asked is not None, "ask first"
        assert len(scores) == len(asked), (len(scores), len(asked))
        self._scores.update(
            {candidate.architecture: score for candidate, score in zip(asked, scores, strict=True)}
        )
        self._asked = None
        self._generation += 1

    def best(self, n: int) -> list[Architecture]:
        """The best of the whole history; of equals the cheaper, then by digest."""

        def rank(architecture: Architecture) -> tuple[float, int, str]:
            macs = self._model.cost(architecture).macs
            return (-self._scores[architecture], macs, architecture.digest)

        return sorted(self._scores, key=rank)[:n]

    def state_dict(self) -> dict[str, Any]:
        """Scores so far and the generation to come."""
        return {
            "generation": self._generation,
            "scores": [[a.to_dict(), score] for a, score in self._scores.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._generation = int(state["generation"])
        self._scores = {Architecture.from_dict(a): float(s) for a, s in state["scores"]}
        self._asked = None

    def _first(self, rng: random.Random) -> list[Candidate]:
        drawn = draw_within(self._model, self.constraint, self.population, rng)
        if not drawn:
            raise ConstraintError(
                f"no architecture of space {self.space.name} was found within {self.constraint}; "
                f"widen the window"
            )
        return [Candidate(architecture=a, generation=0, origin="random") for a in drawn]

    def _children(self, rng: random.Random) -> list[Candidate]:
        parents = self.best(self.parents)
        children: dict[Architecture, Candidate] = {}

        def mutation() -> tuple[Architecture, tuple[str, ...]]:
            parent = rng.choice(parents)
            return self.space.mutate(parent, self.mutation_prob, rng), (parent.digest,)

        def crossover() -> tuple[Architecture, tuple[str, ...]]:
            first, second = rng.choice(parents), rng.choice(parents)
            child = self.space.crossover(first, second, rng)
            return child, (first.digest, second.digest)

        self._breed(children, "mutation", self.mutations, mutation)
        self._breed(children, "crossover", len(children) + self.crossovers, crossover)
        missing = self.mutations + self.crossovers - len(children)
        known = {*self._scores, *children}
        for drawn in draw_within(self._model, self.constraint, missing, rng, known=known):
            children[drawn] = Candidate(
                architecture=drawn, generation=self._generation, origin="random"
            )
        return list(children.values())

    def _breed(
        self,
        children: dict[Architecture, Candidate],
        origin: str,
        until: int,
        make: Callable[[], tuple[Architecture, tuple[str, ...]]],
    ) -> None:
        for _ in range(_TRIES * max(until - len(children), 0)):
            if len(children) >= until:
                return
            child, parents = make()
            is_new = child not in self._scores and child not in children
            if is_new and self.constraint.holds(self._model.cost(child)):
                children[child] = Candidate(
                    architecture=child,
                    generation=self._generation,
                    origin=origin,
                    parents=parents,
                )
