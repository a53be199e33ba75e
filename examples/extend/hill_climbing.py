"""A searcher: a random architecture, then again and again small changes of the best so far."""

import random

from vitsearch import SearchSpace
from vitsearch.costs import Constraint
from vitsearch.searchers import Budget, Candidate


class HillClimbing:
    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        rounds: int = 8,
        neighbours: int = 8,
        seed: int = 0,
        num_classes: int = 1000,
    ) -> None:
        self.space, self.budget = space, Budget(space, constraint, num_classes=num_classes)
        self.rounds, self.neighbours, self.seed = rounds, neighbours, seed
        self.round, self.scores, self.asked = 0, {}, []

    @property
    def num_candidates(self) -> int:
        return 1 + (self.rounds - 1) * self.neighbours

    def ask(self) -> list[Candidate]:
        """One random architecture, then changes of the best; nothing when the rounds are over."""
        rng = random.Random(f"{self.seed}/{self.round}")
        found = self.budget.draw(1, rng) if self.round == 0 else []
        origin, parents = "random", ()
        if 0 < self.round < self.rounds:
            best = max(self.scores, key=self.scores.get)
            origin, parents = "mutation", (best.digest,)
            for _ in range(50 * self.neighbours):  # an end, also where a budget leaves nothing
                changed = self.space.mutate(best, 0.1, rng)
                if changed not in {*self.scores, *found} and self.budget.holds(changed):
                    found.append(changed)
        self.asked = [
            Candidate(architecture=a, generation=self.round, origin=origin, parents=parents)
            for a in found[: self.neighbours]
        ]
        return self.asked

    def tell(self, scores: list[float]) -> None:
        """Larger is better."""
        self.scores |= {c.architecture: s for c, s in zip(self.asked, scores, strict=True)}
        self.round += 1
