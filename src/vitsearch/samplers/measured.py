"""Architectures inside windows on measured costs: closed forms decide first, then measurements."""

from __future__ import annotations

import random
from collections.abc import Callable, Container

from vitsearch.costs import Constraint, CostModel
from vitsearch.samplers.within import draw_within
from vitsearch.spaces import Architecture

_DRAWS_EACH = 10  # architectures measured for each one asked for, drawn like any other
_WALKS_EACH = 20  # then neighbours of those that came nearest to the windows
_STEPS_EACH = 100  # to find these neighbours


def draw_measured(
    model: CostModel,
    constraint: Constraint,
    n: int,
    rng: random.Random,
    *,
    excess: Callable[[Architecture], float],
    known: Container[Architecture] = (),
) -> list[Architecture]:
    """Up to `n` distinct architectures inside all windows of a budget that are not in `known`.

    Tries are bounded. Only architectures inside the closed-form windows are measured. Where plain
    draws do not bring enough, mutations of the architecture that came nearest walk to the windows.

    Args:
        model: Costs in closed form.
        constraint: The budget.
        n: How many.
        rng: Source of randomness.
        excess: Measures an architecture: how far it lies outside the measured windows, 0 inside.
        known: What is not to be drawn.
    """
    found: dict[Architecture, None] = {}
    seen: dict[Architecture, float] = {}

    def look_at(candidate: Architecture) -> None:
        seen[candidate] = excess(candidate)
        if seen[candidate] == 0:
            found[candidate] = None

    while len(found) < n and len(seen) < _DRAWS_EACH * n:
        drawn = draw_within(model, constraint, n, rng, known=_Either(seen, known))
        if not drawn:
            break
        for candidate in drawn:
            if len(found) < n:
                look_at(candidate)
    most = len(seen) + _WALKS_EACH * n
    for _ in range(_STEPS_EACH * n):
        if len(found) == n or not seen or len(seen) >= most:
            break
        start = rng.choice(list(found)) if found else min(seen, key=seen.__getitem__)
        candidate = model.space.mutate(start, 1 / len(start), rng)
        is_new = candidate not in seen and candidate not in known
        if is_new and constraint.holds(model.cost(candidate)):
            look_at(candidate)
    return list(found)


class _Either:
    """What either of two containers holds, without copying them."""

    def __init__(self, first: Container[Architecture], second: Container[Architecture]) -> None:
        self._both = (first, second)

    def __contains__(self, architecture: object) -> bool:
        return any(architecture in container for container in self._both)
