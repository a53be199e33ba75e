"""Evolution against random search at equal evaluations: does evolving find better architectures?

Both start from the same random architectures, so that a seed is a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.searchers.base import Searcher
from vitsearch.searchers.evolution import EvolutionSearcher
from vitsearch.searchers.random_search import RandomSearcher
from vitsearch.spaces import Architecture, SearchSpace

ScoreAll = Callable[[Sequence[Architecture]], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSearches:
    """Two searches of one seed, of the same length.

    Attributes:
        seed: Of both.
        evolution: The best score after 1, 2, ... evaluations.
        random: The same of random search.
    """

    seed: int
    evolution: tuple[float, ...]
    random: tuple[float, ...]

    @property
    def evaluations(self) -> int:
        """How many architectures each search scored."""
        return len(self.evolution)

    @property
    def difference(self) -> float:
        """By how much evolution's best is better than random search's."""
        return self.evolution[-1] - self.random[-1]


def make_searchers(
    space: SearchSpace,
    constraint: Constraint,
    settings: Mapping[str, Any],
    *,
    seed: int,
    num_classes: int,
) -> tuple[EvolutionSearcher, RandomSearcher]:
    """Evolution, and random search of as many architectures.

    Raises:
        ConfigError: A setting of `EvolutionSearcher` is out of range.
    """
    evolution = EvolutionSearcher(space, constraint, **settings, seed=seed, num_classes=num_classes)
    at_random = RandomSearcher(
        space,
        constraint,
        population=evolution.num_candidates,
        seed=seed,
        num_classes=num_classes,
    )
    return evolution, at_random


def compare_searches(
    evolution: Searcher, at_random: Searcher, score: ScoreAll, *, seed: int
) -> ComparedSearches:
    """Run both to their end; the longer one is cut to the length of the other.

    Args:
        evolution: A searcher that has not started.
        at_random: Another one.
        score: Scores of architectures, larger is better.
        seed: What both were made with, for the record.
    """
    runs = [_run(searcher, score) for searcher in (evolution, at_random)]
    length = min(map(len, runs))
    evolved, drawn = (tuple(accumulate(run[:length], max)) for run in runs)
    return ComparedSearches(seed=seed, evolution=evolved, random=drawn)


def _run(searcher: Searcher, score: ScoreAll) -> list[float]:
    scores: list[float] = []
    while candidates := searcher.ask():
        told = list(score([candidate.architecture for candidate in candidates]))
        searcher.tell(told)
        scores += told
    return scores
