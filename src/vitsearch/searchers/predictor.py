"""Search with a predictor: an ensemble fitted on all scores so far says what to score next.

Source: BANANAS (AAAI 2021), sections 4 and 5: candidates are changes of the best so far, and each
pick is the favourite of one random member (independent Thompson sampling). The predictor is least
squares (`ridge.py`) in place of neural networks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors.checks import check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.searchers.neighbours import neighbourhood
from vitsearch.searchers.ridge import RidgeEnsemble
from vitsearch.spaces import Architecture, SearchSpace

_RANDOM = 10  # one of so many in a pool is a random architecture
_TRIES = 4  # for each architecture of a pool
_MOST_MEASURED = 20  # for each pick, where windows are on measured costs


class PredictorSearcher(GenerationalSearcher):
    """A random first generation, then what the predictor thinks most of.

    Attributes:
        batch: Architectures in each later generation.
        ensemble: Members of the predictor.
        parents: The best of the history whose changes are looked at.
        pool: Architectures that the predictor looks at in each generation.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        population: int = 50,
        generations: int = 20,
        batch: int = 10,
        ensemble: int = 10,
        parents: int = 10,
        pool: int = 1000,
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
            batch: Architectures in each later generation.
            ensemble: Members of the predictor; 1 follows a single prediction.
            parents: The best of the history whose single and double changes are looked at.
            pool: Architectures inside the budget that the predictor looks at in each generation;
                one in ten is random, the others are single and double changes, half and half.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost in the budget, what measures an architecture; called
                for what is picked, not for the whole pool.
            initial: Architectures to begin with; those inside the budget are the first of the
                first generation, and as many fewer are random.
            allowed: A further condition that every candidate meets.

        Raises:
            ConfigError: A number is out of range.
            ConstraintError: The space does not reach the budget.
        """
        self.batch = check_whole("searcher.batch", batch, 1)
        self.ensemble = check_whole("searcher.ensemble", ensemble, 1)
        self.parents = check_whole("searcher.parents", parents, 1)
        self.pool = check_whole("searcher.pool", pool, 1)
        super().__init__(
            space,
            constraint,
            population=population,
            generations=generations,
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            initial=initial,
            allowed=allowed,
        )
        self._num_classes = num_classes
        self._near = neighbourhood(space)

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        first = max(self.population, len(self._initial))
        return first + (self.generations - 1) * self.batch

    def _children(self, rng: random.Random) -> list[Candidate]:
        pool = self._pool(rng)
        made = list(self._picks(pool, rng))
        known = {*self._scores, *(candidate.architecture for candidate in made)}
        missing = self.batch - len(made)
        drawn = self.budget.draw(missing, rng, known=known) if missing else []
        return [*made, *self._new("random", drawn)]

    def _pool(self, rng: random.Random) -> list[Candidate]:
        """What the predictor looks at, inside all windows that need no measuring."""
        best = self.best(self.parents)
        pool: dict[Architecture, Candidate] = {}
        at_random = -(-self.pool // _RANDOM) if best else self.pool
        for _ in range(_TRIES * self.pool if best else 0):
            if len(pool) >= self.pool - at_random:
                break
            parent = rng.choice(best)
            child = self._near.random_change(parent, rng)
            if child is not None and rng.random() < 0.5:
                child = self._near.random_change(child, rng)
            is_new = child is not None and child not in self._scores and child not in pool
            if child is not None and is_new and self.budget.may_hold(child):
                pool |= {c.architecture: c for c in self._new("mutation", [child], parent)}
        drawn = self.budget.draw(at_random, rng, known={*self._scores, *pool}, measured=False)
        return [*pool.values(), *self._new("random", drawn)]

    def _picks(self, pool: list[Candidate], rng: random.Random) -> Iterator[Candidate]:
        """Favourites of random members, as many as a generation takes if there are so many."""
        scored = self.scored()
        if not scored or not pool:
            return
        predictor = RidgeEnsemble(
            self.space,
            members=self.ensemble,
            num_classes=self._num_classes,
            seed=rng.getrandbits(32),
        ).fit(list(scored), list(scored.values()))
        predicted = predictor.predict([candidate.architecture for candidate in pool])
        orders = [iter(np.argsort(-row, kind="stable").tolist()) for row in predicted]
        taken: set[int] = set()
        for _ in range(self.batch):
            favourites = (i for i in orders[rng.randrange(self.ensemble)] if i not in taken)
            for _, index in zip(range(_MOST_MEASURED), favourites, strict=False):
                taken.add(index)
                if self.budget.holds(pool[index].architecture):
                    yield pool[index]
                    break


def best_predicted(
    space: SearchSpace,
    scored: Mapping[Architecture, float] | Iterable[tuple[Architecture, float]],
    architecture: Architecture,
    *,
    n: int = 1,
    allowed: Allowed | None = None,
    members: int = 10,
    most: int = 20_000,
    num_classes: int = 1000,
    seed: int = 0,
) -> list[Architecture]:
    """What a history says about the changes of an architecture, without any new score.

    Args:
        space: Where the architectures are.
        scored: Pairs of an architecture and its score, larger is better.
        architecture: Where to start.
        n: How many to return, at most.
        allowed: Which changes count; all of them by default.
        members: Of the predictor; its prediction is their mean.
        most: Double changes that are looked at: all where they are fewer, else random ones. Single
            changes are all looked at.
        num_classes: Of the classifier, whose cost the predictor knows.
        seed: Of the predictor and of what is random.

    Returns:
        The best of the architecture itself and its allowed changes, by prediction, the best first.

    Raises:
        ConfigError: There is no score, one is not finite, or a number is out of range.
        SpaceError: The architecture is not legal in the space.
    """
    pairs = dict(scored)
    predictor = RidgeEnsemble(space, members=members, num_classes=num_classes, seed=seed)
    predictor.fit(list(pairs), list(pairs.values()))
    return best_changes(predictor, architecture, n=n, allowed=allowed, most=most, seed=seed)


def best_changes(
    predictor: RidgeEnsemble,
    architecture: Architecture,
    *,
    n: int = 1,
    allowed: Allowed | None = None,
    most: int = 20_000,
    seed: int = 0,
) -> list[Architecture]:
    """The same with a predictor that is fitted already: `best_predicted` for many architectures."""
    predictor.space.validate(architecture)
    check_whole("n", n, 1)
    check_whole("most", most, 0)
    near = neighbourhood(predictor.space)
    changed = chain(
        near.singles(architecture),
        near.doubles(architecture, random.Random(f"{seed}/changes"), most),
    )
    found = [architecture, *(a for a in changed if allowed is None or allowed(a))]
    order = np.argsort(-predictor.predict(found).mean(axis=0), kind="stable")
    return [found[index] for index in order[:n].tolist()]
