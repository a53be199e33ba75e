"""NSGA-II: a whole front of architectures, accuracy against one or more costs, in one search.

Source: A fast and elitist multiobjective genetic algorithm: NSGA-II (2002), section III. Sampling,
mutation and crossover are the space's own, so that every candidate is a canonical, legal
architecture inside the budget.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.costs.metrics import cost_metrics, find_cost
from vitsearch.errors import ConfigError
from vitsearch.searchers.breeding import BreedingSearcher, MutationProb
from vitsearch.searchers.front import crowding, fronts
from vitsearch.spaces import Architecture, SearchSpace


class Nsga2Searcher(BreedingSearcher):
    """Maximises accuracy and minimises costs; windows may bound it besides.

    Parents compete by rank, then by crowding distance. The survivors are chosen among the whole
    history, not among the last two generations: nothing on the front is ever lost, and what was
    told is all the state there is.

    Attributes:
        minimise: The costs, by name.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        minimise: Sequence[str] = ("macs",),
        population: int = 50,
        generations: int = 20,
        mutations: int = 25,
        crossovers: int = 25,
        mutation_prob: MutationProb = 0.1,
        seed: int = 0,
        num_classes: int = 1000,
        measure: Measures | None = None,
        initial: Sequence[Architecture] = (),
    ) -> None:
        """Set up a search.

        Args:
            space: Where to search.
            constraint: Windows that every candidate meets; none by default.
            minimise: One cost or several, by name: `macs`, `params`, `latency_ms`, `memory_mb`, or
                any other that is registered.
            population: Random architectures in the first generation, and survivors of each.
            generations: Generations in all, the random one included.
            mutations: Children by mutation in each later generation.
            crossovers: Children by crossover in each later generation.
            mutation_prob: Chance that a mutation draws a choice again; see `EvolutionSearcher`.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost, what measures an architecture.
            initial: Architectures to begin with; those inside the windows are the first of the
                first generation, and as many fewer are random.

        Raises:
            ConfigError: A number is out of range, or a cost is unknown.
            ConstraintError: The space does not reach the budget.
        """
        self.minimise = _costs(minimise)
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
            also_costs=self.minimise,
            initial=initial,
        )

    def front(self) -> list[Architecture]:
        """What nothing in the history betters, the cheapest first (by the first of the costs)."""
        scored = self.scored()
        ranked = fronts(self._points(scored))
        listed = list(scored)
        best = [listed[index] for index in ranked[0]] if ranked else []
        cost = self.minimise[0]
        return sorted(best, key=lambda a: (self.budget.value(cost, a), scored[a], a.digest))

    def _parents(self, rng: random.Random) -> Callable[[], Architecture]:
        survivors, fitness = self._survivors()
        # numpy guarantees the numbers of RandomState for ever, those of a Generator it does not.
        numbers = np.random.RandomState(rng.getrandbits(32))
        winners = self._winners(fitness, numbers)
        return lambda: survivors[next(winners)]

    def _survivors(self) -> tuple[list[Architecture], list[tuple[int, float]]]:
        """The fittest of the history, by rank and crowding, with their fitness (small is good)."""
        scored = self.scored()
        points = self._points(scored)
        listed = list(scored)
        fitness: dict[int, tuple[int, float]] = {}
        for rank, front in enumerate(fronts(points)):
            distances = crowding([points[index] for index in front])
            fitness |= {i: (rank, -distance) for i, distance in zip(front, distances, strict=True)}
            if len(fitness) >= self.population:
                break
        chosen = sorted(fitness, key=lambda i: (*fitness[i], listed[i].digest))[: self.population]
        return [listed[index] for index in chosen], [fitness[index] for index in chosen]

    def _points(self, scored: dict[Architecture, float]) -> list[tuple[float, ...]]:
        return [
            (-score, *(self.budget.value(cost, architecture) for cost in self.minimise))
            for architecture, score in scored.items()
        ]

    def _winners(
        self, fitness: list[tuple[int, float]], numbers: np.random.RandomState
    ) -> Iterator[int]:
        """Winners of binary tournaments between survivors, without end."""
        count = len(fitness)
        while True:
            pairs = np.concatenate([numbers.permutation(count), numbers.permutation(count)])
            for pair in pairs.reshape(count, 2).tolist():
                yield min(pair, key=lambda i: (fitness[i], i))


def _costs(given: Sequence[str] | str) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else list(given)
    found = [find_cost(str(name)) for name in names]
    legal = ", ".join(one.name for one in cost_metrics() if one.better == "smaller")
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"searcher.minimise={names} must name different costs; legal: {legal}")
    for name, metric in zip(names, found, strict=True):
        if metric is None:
            raise ConfigError(
                f"searcher.minimise={name} is no cost; legal: {legal} (accuracy is always "
                f"maximised)"
            )
        if metric.better != "smaller":
            raise ConfigError(
                f"searcher.minimise={name}: a network with less {metric.label} is no better; "
                f"legal: {legal}"
            )
    return tuple(names)
