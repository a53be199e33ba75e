"""What all searchers by generation share: random architectures first, the history, going on.

Every generation's random numbers depend on the seed and the generation alone, so a search that is
told the same scores proposes the same architectures, also after a restart.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors.checks import check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed, Budget
from vitsearch.spaces import Architecture, SearchSpace


class GenerationalSearcher(ABC):
    """A random first generation, then whatever a subclass makes of the history; none twice.

    Attributes:
        space: Where to search.
        budget: What candidates may cost, and do.
        constraint: Its windows.
        population: Random architectures in the first generation.
        generations: Generations in all, the random one included.
        seed: Start of the random numbers.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None,
        *,
        population: int,
        generations: int,
        seed: int,
        num_classes: int,
        measure: Measures | None = None,
        also_costs: Sequence[str] = (),
        initial: Sequence[Architecture] = (),
        allowed: Allowed | None = None,
    ) -> None:
        check_whole("searcher.population", population, 1)
        check_whole("searcher.generations", generations, 1)
        self.space = space
        self.budget = Budget(
            space,
            constraint,
            num_classes=num_classes,
            measure=measure,
            also=also_costs,
            allowed=allowed,
        )
        self.constraint = self.budget.constraint
        self.population = population
        self.generations = generations
        self.seed = seed
        for architecture in initial:
            space.validate(architecture)
        self._initial = tuple(dict.fromkeys(initial))
        self._scores: dict[Architecture, float | None] = {}
        self._generation = 0
        self._asked: list[Candidate] | None = None

    @property
    @abstractmethod
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""

    @abstractmethod
    def _children(self, rng: random.Random) -> list[Candidate]:
        """A generation after the first, inside the budget, none of it proposed before."""

    def ask(self) -> list[Candidate]:
        """The next generation; the same one until its scores are told; empty at the end.

        Raises:
            ConstraintError: No architecture inside the budget was found.
        """
        if self._asked is None:
            if self._generation >= self.generations:
                return []
            rng = random.Random(f"{self.seed}/{self._generation}")
            made = self._children(rng) if self._generation else self._first(rng)
            if self.budget.metrics:
                made = [replace(c, measured=self.budget.measured(c.architecture)) for c in made]
            self._asked = made
        return list(self._asked)

    def tell(self, scores: Sequence[float | None]) -> None:
        """Scores of the generation last asked for; larger is better, `None` was dropped early."""
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
        return self._ranked(self.scored())[:n]

    def _ranked(self, scored: Mapping[Architecture, float]) -> list[Architecture]:
        """The best first; of equals the cheaper, then by digest."""

        def rank(architecture: Architecture) -> tuple[float, int, str]:
            macs = self.budget.cost(architecture).macs
            return (-scored[architecture], macs, architecture.digest)

        return sorted(scored, key=rank)

    def scored(self) -> dict[Architecture, float]:
        """The history without what was dropped early."""
        return {a: score for a, score in self._scores.items() if score is not None}

    def state_dict(self) -> dict[str, Any]:
        """Scores so far, the generation to come, and what was measured."""
        state: dict[str, Any] = {
            "generation": self._generation,
            "scores": [[a.to_dict(), score] for a, score in self._scores.items()],
        }
        if self.budget.metrics:
            state["measured"] = self.budget.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._generation = int(state["generation"])
        self._scores = {
            Architecture.from_dict(a): None if s is None else float(s) for a, s in state["scores"]
        }
        self.budget.load_state_dict(state.get("measured", {}))
        self._asked = None

    def _new(
        self, origin: str, architectures: Iterable[Architecture], *parents: Architecture
    ) -> list[Candidate]:
        """Candidates of the present generation."""
        return [
            Candidate(
                architecture=architecture,
                generation=self._generation,
                origin=origin,
                parents=tuple(parent.digest for parent in parents),
            )
            for architecture in architectures
        ]

    def _first(self, rng: random.Random) -> list[Candidate]:
        known = [a for a in self._initial if self.budget.holds(a)]
        drawn = []
        if len(known) < self.population:
            drawn = self.budget.draw(self.population - len(known), rng, known=set(known))
        if not drawn and not known:
            raise self.budget.nothing_found()
        return self._new("initial", known) + self._new("random", drawn)
