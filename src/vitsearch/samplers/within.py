"""Architectures inside a budget: random draws first, then short walks to the window."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator

from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConstraintError
from vitsearch.samplers.drawing import drawn_within
from vitsearch.spaces import Architecture, Choice, SearchSpace, Value, operators

_DRAWS_EACH = 200  # plain draws for each architecture asked for, before walks begin
_WALKS_EACH = 40
_WALK_STEPS = 200  # at least
_STEPS_EACH = 8  # for each choice


def sample_within(
    space: SearchSpace,
    constraint: Constraint,
    n: int,
    rng: random.Random,
    *,
    num_classes: int = 1000,
) -> list[Architecture]:
    """Draw `n` distinct architectures inside the closed-form windows of a budget.

    Windows on measured costs take a measurer: a searcher's `budget.draw` draws inside them.

    Args:
        space: Where to draw.
        constraint: The budget.
        n: How many.
        rng: Source of randomness.
        num_classes: Of the classifier, whose cost counts.

    Raises:
        ConstraintError: The space does not reach the window (the message says what it reaches), or
            fewer than `n` were found after a bounded number of tries, or a window is on a measured
            cost.
    """
    for metric in constraint.measured_windows():
        raise ConstraintError(
            f"constraint.{metric} is measured, and sample_within draws by closed forms; use a "
            f"searcher's budget.draw"
        )
    found = draw_within(CostModel(space, num_classes), constraint, n, rng)
    if len(found) < n:
        raise ConstraintError(
            f"found {len(found)} of {n} architectures of space {space.name} within {constraint}; "
            f"widen the window or ask for fewer"
        )
    return found


def draw_within(
    model: CostModel,
    constraint: Constraint,
    n: int,
    rng: random.Random,
    *,
    known: Container[Architecture] = (),
) -> list[Architecture]:
    """Up to `n` distinct architectures inside a budget that are not in `known`.

    Tries are bounded. Plain rejection keeps the distribution of the space's own sampling; where the
    window is too narrow for it, single changes lead each draw towards the window.

    Raises:
        ConstraintError: The space does not reach the window.
    """
    found: dict[Architecture, None] = {}
    for candidate in _candidates(model, constraint, n, rng):
        if candidate not in found and candidate not in known:
            found[candidate] = None
        if len(found) == n:
            break
    return list(found)


def _candidates(
    model: CostModel, constraint: Constraint, n: int, rng: random.Random
) -> Iterator[Architecture]:
    yield from drawn_within(model, constraint, _DRAWS_EACH * n, rng)
    constraint.check_reachable(model.space, model.num_classes)  # or no walk would ever arrive
    for _ in range(_WALKS_EACH * n):
        arrived = _walk(model, constraint, model.space.sample(rng), rng)
        if arrived is not None:
            yield arrived


def _walk(
    model: CostModel, constraint: Constraint, start: Architecture, rng: random.Random
) -> Architecture | None:
    """Change one choice at a time towards the end of the space that lies beyond the window."""
    space, here = model.space, start
    cost = model.cost(here)
    for _ in range(max(_WALK_STEPS, _STEPS_EACH * len(start))):
        violated = constraint.violated(cost)
        if violated is None:
            return here
        metric, too_small = violated
        goal, _ = space.extreme(metric, largest=too_small)
        step = _step(space, here, goal, rng)
        step_cost = model.cost(step)
        if constraint.excess(step_cost) <= constraint.excess(cost):
            here, cost = step, step_cost
    return here if constraint.holds(cost) else None


def _step(
    space: SearchSpace, here: Architecture, goal: Architecture, rng: random.Random
) -> Architecture:
    """`here` with one choice, and whatever that activates, as in `goal` or drawn again.

    Half of the steps are drawn: towards the goal alone, walks stall where every step overshoots.
    """
    towards = rng.random() < 0.5
    changed = rng.choice(list(goal if towards else here))

    def pick(choice: Choice) -> Value:
        if choice.name in here and choice.name != changed:
            return here[choice.name]
        known = towards and choice.name in goal
        return goal[choice.name] if known else operators.draw(choice, rng)

    return space.complete(pick)
