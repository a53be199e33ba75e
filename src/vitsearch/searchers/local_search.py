"""Local search: score the single changes of the present architecture, move to the best, repeat.

Source: Exploring the Loss Landscape in Neural Architecture Search (UAI 2021), section 3. It needs
no setting, and is what any method that improves given architectures has to beat.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors.checks import check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.searchers.neighbours import neighbourhood
from vitsearch.spaces import Architecture, SearchSpace


class LocalSearcher(GenerationalSearcher):
    """Climbs from architecture to architecture by single changes inside the budget.

    A generation are changes of the present architecture. If one of them scores better, the best of
    them is the present one from now on; if none does, the next generation are other changes of the
    same. Where all are known and none is better, the climb ends, and the next one starts from a
    random architecture. Scores that are known from other climbs count, at no cost.

    Attributes:
        candidates: How many are scored in all.
        neighbours: Changes a generation, at random; `None` for all of them.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        candidates: int = 500,
        neighbours: int | None = None,
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
            neighbours: Changes a generation, at random; by default all of them, as in the paper.
                A move then takes as many scores as an architecture has neighbours, which are
                dozens in small spaces and thousands in those with many options.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost in the budget, what measures an architecture.
            initial: Where to begin: those inside the budget are the first generation, and the best
                of them is where the first climb starts; a random architecture by default.
            allowed: A further condition that every candidate meets.

        Raises:
            ConfigError: A number is out of range.
            ConstraintError: The space does not reach the budget.
        """
        self.candidates = check_whole("searcher.candidates", candidates, 1)
        if neighbours is not None:
            check_whole("searcher.neighbours", neighbours, 1, otherwise="null")
        self.neighbours = neighbours
        self._present: Architecture | None = None
        super().__init__(
            space,
            constraint,
            population=1,
            generations=candidates,  # at most: each scores one or more
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

    def tell(self, scores: Sequence[float | None]) -> None:
        """Scores of the generation last asked for; larger is better, `None` was dropped early."""
        asked = list(self._asked or ())
        super().tell(scores)
        known = self.scored()
        if any(candidate.origin != "mutation" for candidate in asked):  # a climb begins
            told = {c.architecture for c in asked}
            starts = self._ranked({a: score for a, score in known.items() if a in told})
            self._present = starts[0] if starts else None
        while self._present is not None:
            level = known[self._present]
            higher = {a: score for a, score in known.items() if score > level}
            better = (a for a in self._ranked(higher) if self._near.is_change(self._present, a))
            best = next(better, None)
            if best is None:
                break
            self._present = best

    def state_dict(self) -> dict[str, Any]:
        """Scores so far, the generation to come, where the climb is, and what was measured."""
        present = None if self._present is None else self._present.to_dict()
        return {**super().state_dict(), "present": present}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        super().load_state_dict(state)
        present = state["present"]
        self._present = None if present is None else Architecture.from_dict(present)

    def _children(self, rng: random.Random) -> list[Candidate]:
        left = self.candidates - len(self._scores)
        if left <= 0:
            return []
        if self._present is not None:
            changes = self._near.changes(self._present)
            rng.shuffle(changes)
            made = (self._near.apply(self._present, change) for change in changes)
            new = (a for a in made if a not in self._scores and self.budget.holds(a))
            most = left if self.neighbours is None else min(self.neighbours, left)
            if found := list(islice(new, most)):
                return self._new("mutation", found, self._present)
        return self._new("random", self.budget.draw(1, rng, known=self._scores))
