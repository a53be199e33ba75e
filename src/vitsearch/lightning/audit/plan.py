"""What an audit will do, decided before anything is written: architectures, seeds, searches."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole, is_whole
from vitsearch.lightning.audit.log import Key
from vitsearch.lightning.audit.training_free import chosen_scores
from vitsearch.samplers import sample_strata
from vitsearch.searchers import EvolutionSearcher, RandomSearcher
from vitsearch.searchers.comparison import make_searchers
from vitsearch.spaces import Architecture, SearchSpace

_FEWEST = 4  # a rank correlation of fewer says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """What an audit will do.

    Attributes:
        architectures: What is trained alone, from small to large.
        seeds: Of the trainings of each.
        searchers: For each seed, evolution and random search; they have not started.
        training_free: Scores without training that the architectures get, by name.
        notes: What was left out, a line each.
    """

    architectures: tuple[Architecture, ...]
    seeds: tuple[int, ...]
    searchers: Mapping[int, tuple[EvolutionSearcher, RandomSearcher]]
    training_free: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[Key]:
        """All trainings: every architecture once, then again with the next seed."""
        return [(a.digest, seed) for seed in self.seeds for a in self.architectures]

    @property
    def by_digest(self) -> dict[str, Architecture]:
        """The architectures by digest."""
        return {architecture.digest: architecture for architecture in self.architectures}


def make_plan(
    space: SearchSpace,
    constraint: Constraint,
    *,
    n: int,
    seeds: Sequence[int],
    seed: int = 0,
    searches: Mapping[str, Any] | None = None,
    num_classes: int = 1000,
    training_free: object = None,
) -> AuditPlan:
    """Draw the architectures, make the searchers.

    Args:
        space: What the supernet was trained for.
        constraint: The budget inside which to draw and to search.
        n: Architectures.
        seeds: Of the trainings.
        seed: Of the draw.
        searches: `seeds`, and settings of `EvolutionSearcher`; none are compared without it.
        num_classes: Of the classifier, whose cost counts.
        training_free: Names of scores without training, `auto`, or `None`; see `chosen_scores`.

    Raises:
        ConfigError: A setting is out of range, or a score that is named is not defined here.
        ConstraintError: The space does not reach the budget, or has fewer architectures in it.
    """
    check_whole("n", n, _FEWEST)
    check_seeds("seeds", seeds, least=1)
    searchers = {}
    if searches is not None:
        settings = dict(searches)
        search_seeds = settings.pop("seeds", [0])
        check_seeds("compare_searches.seeds", search_seeds)
        for number in search_seeds:
            try:
                searchers[number] = make_searchers(
                    space, constraint, settings, seed=number, num_classes=num_classes
                )
            except (ConfigError, TypeError) as error:  # TypeError: an unknown setting
                text = str(error).replace("searcher.", "compare_searches.")
                raise ConfigError(f"compare_searches: {text}") from error
    drawn = sample_strata(
        space, constraint, n, random.Random(f"{seed}/audit"), num_classes=num_classes
    )
    names, notes = chosen_scores(space, drawn, training_free)
    return AuditPlan(
        architectures=tuple(drawn),
        seeds=tuple(seeds),
        searchers=searchers,
        training_free=names,
        notes=notes,
    )


def check_seeds(name: str, seeds: object, *, least: int = 0) -> None:
    """Refuse what is no list of different seeds.

    Raises:
        ConfigError: Says what is legal.
    """
    listed = list(seeds) if isinstance(seeds, Sequence) and not isinstance(seeds, str) else None
    whole = listed is not None and all(is_whole(seed) and 0 <= seed < 2**32 for seed in listed)
    if listed is None or not whole or len(set(listed)) < len(listed) or len(listed) < least:
        raise ConfigError(
            f"{name}={seeds} must be a list of different whole numbers from 0 to {2**32 - 1}"
            f"{', one or more' if least else ''}"
        )
