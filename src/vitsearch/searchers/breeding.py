"""Generations by mutation and crossover of the space's own operators: always legal and canonical.

What a subclass decides is who the parents are.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.errors.checks import check_number, check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.restriction import expand_patterns

_TRIES = 100  # for each child, before a random architecture takes its place

MutationProb = float | Mapping[str, float]
_Made = tuple[Architecture, tuple[str, ...]]


class BreedingSearcher(GenerationalSearcher):
    """A random first generation, then mutations and crossovers of parents, none twice.

    Attributes:
        mutations: Children by mutation in each later generation.
        crossovers: Children by crossover in each later generation.
        mutation_prob: Chance that a mutation draws a choice again; by choice if they differ.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None,
        *,
        population: int,
        generations: int,
        mutations: int,
        crossovers: int,
        mutation_prob: MutationProb,
        seed: int,
        num_classes: int,
        measure: Measures | None,
        also_costs: Sequence[str] = (),
        initial: Sequence[Architecture] = (),
        allowed: Allowed | None = None,
    ) -> None:
        check_whole("searcher.generations", generations, 1)  # it is compared below
        check_whole("searcher.mutations", mutations, 0)
        check_whole("searcher.crossovers", crossovers, 0)
        self.mutations = mutations
        self.crossovers = crossovers
        self.mutation_prob = _mutation_prob(space, mutation_prob)
        if generations > 1 and mutations + crossovers == 0:
            raise ConfigError("searcher.mutations and searcher.crossovers are both 0; raise one")
        super().__init__(
            space,
            constraint,
            population=population,
            generations=generations,
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            also_costs=also_costs,
            initial=initial,
            allowed=allowed,
        )

    @abstractmethod
    def _parents(self, rng: random.Random) -> Callable[[], Architecture]:
        """What chooses a parent each time that one is needed."""

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        return self.population + (self.generations - 1) * (self.mutations + self.crossovers)

    def _children(self, rng: random.Random) -> list[Candidate]:
        parent = self._parents(rng)
        children: dict[Architecture, Candidate] = {}

        def mutation() -> _Made:
            chosen = parent()
            return self.space.mutate(chosen, self.mutation_prob, rng), (chosen.digest,)

        def crossover() -> _Made:
            first, second = parent(), parent()
            child = self.space.crossover(first, second, rng)
            return child, (first.digest, second.digest)

        self._breed(children, "mutation", self.mutations, mutation)
        self._breed(children, "crossover", len(children) + self.crossovers, crossover)
        missing = self.mutations + self.crossovers - len(children)
        for drawn in self.budget.draw(missing, rng, known={*self._scores, *children}):
            children[drawn] = Candidate(
                architecture=drawn, generation=self._generation, origin="random"
            )
        return list(children.values())

    def _breed(
        self,
        children: dict[Architecture, Candidate],
        origin: str,
        until: int,
        make: Callable[[], _Made],
    ) -> None:
        for _ in range(_TRIES * max(until - len(children), 0)):
            if len(children) >= until:
                return
            child, parents = make()
            is_new = child not in self._scores and child not in children
            if is_new and self.budget.holds(child):
                children[child] = Candidate(
                    architecture=child,
                    generation=self._generation,
                    origin=origin,
                    parents=parents,
                )


def _mutation_prob(space: SearchSpace, given: MutationProb) -> MutationProb:
    """A probability, or one for each choice from patterns; of several patterns the last counts.

    Raises:
        ConfigError: A number is out of range, a pattern matches nothing, or a choice has none.
    """
    if not isinstance(given, Mapping):
        return check_number("searcher.mutation_prob", given, "[0, 1]")
    probs = {
        str(pattern): check_number(f"searcher.mutation_prob.{pattern}", prob, "[0, 1]")
        for pattern, prob in given.items()
    }
    names = [choice.name for choice in space.choices]
    try:
        expanded = expand_patterns(probs, names, space.name)
    except SpaceError as error:
        raise ConfigError(f"searcher.mutation_prob: {error}") from error
    for name in names:
        if name not in expanded:
            raise ConfigError(
                f"searcher.mutation_prob has no probability for {name}; begin with '*', which "
                f"stands for all choices"
            )
    return {name: float(expanded[name][0]) for name in names}
