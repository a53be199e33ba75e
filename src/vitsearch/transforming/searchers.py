"""Searchers that transform given architectures: the policy, or any other from each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vitsearch.errors import ConfigError
from vitsearch.searchers.base import Searcher
from vitsearch.spaces import Architecture
from vitsearch.transforming.each import EachSearcher
from vitsearch.transforming.reachable import Reachable
from vitsearch.transitions import Transitions


def transforming_searcher(
    make: Callable[..., Searcher], given: Sequence[Architecture], transitions: Transitions
) -> Callable[..., Searcher]:
    """A searcher that looks for better architectures than given ones.

    Args:
        make: A function `(space, constraint, num_classes=...) -> Searcher`. If it has parameters
            `given` and `transitions`, it transforms all at once, as a policy does; if it has
            `initial` and `allowed`, every given architecture gets a searcher of its own.
        given: The architectures, all of one space.
        transitions: What they may become.

    Raises:
        ConfigError: It has neither.
    """
    names = parameters_of(make)
    if {"given", "transitions"} <= names:
        return partial(make, given=tuple(given), transitions=transitions)
    if {"initial", "allowed"} <= names:

        def each(*args: Any, **kwargs: Any) -> Searcher:
            return EachSearcher(
                given,
                lambda one: make(
                    *args, **kwargs, initial=(one,), allowed=Reachable(transitions, one)
                ),
                transitions.rule,
            )

        own = inspect.signature(make).parameters.values()
        each.__signature__ = inspect.Signature(list(own))  # type: ignore[attr-defined]
        return each
    raise ConfigError(
        "searcher: it cannot begin with given architectures; it needs the parameters `initial` and "
        "`allowed`, as evolution, local_search, predictor, regularized_evolution and optuna have"
    )


def parameters_of(make: Callable[..., Any]) -> set[str]:
    """The names of a function's parameters."""
    while isinstance(make, partial):
        make = make.func
    return set(inspect.signature(make).parameters)
