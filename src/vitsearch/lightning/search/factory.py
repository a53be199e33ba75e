"""Searchers and budgets from what a user gives: settings by name, functions, or neither."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors import ConfigError
from vitsearch.searchers import EvolutionSearcher, Searcher
from vitsearch.spaces import SearchSpace

SearcherFactory = Callable[..., Searcher]
Settings = Mapping[str, Any]


def make_constraint(constraint: Constraint | Settings | None) -> Constraint:
    """A budget from its windows by name.

    Raises:
        ConstraintError: A window is malformed, or its name unknown.
    """
    if isinstance(constraint, Constraint):
        return constraint
    return Constraint.from_settings(constraint or {})


def make_searcher(
    searcher: SearcherFactory | Settings | None,
    space: SearchSpace,
    constraint: Constraint,
    num_classes: int,
    *,
    measure: Measures,
) -> Searcher:
    """The searcher for one supernet.

    Args:
        searcher: A function `(space, constraint, num_classes=...) -> Searcher`, or settings.
        space: Where to search.
        constraint: The budget.
        num_classes: Of the classifier.
        measure: For each measured cost, what measures an architecture.

    Raises:
        ConfigError: A setting is out of range, or the searcher cannot keep a measured window.
        ConstraintError: The space does not reach the budget.
    """
    make = searcher if callable(searcher) else partial(EvolutionSearcher, **dict(searcher or {}))
    more: dict[str, Any] = {}
    if _takes(make, "measure"):
        more["measure"] = measure
    else:
        for metric in constraint.measured_windows():
            raise ConfigError(
                f"searcher: it has no parameter `measure`, so it cannot keep constraint.{metric}"
            )
    try:
        return make(space, constraint, num_classes=num_classes, **more)
    except TypeError as error:  # an unknown setting
        raise ConfigError(f"searcher: {error}") from error


def _takes(make: SearcherFactory, name: str) -> bool:
    while isinstance(make, partial):  # with a setting that is unknown it has no signature
        make = make.func
    parameters = inspect.signature(make).parameters
    several = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return several or name in parameters
