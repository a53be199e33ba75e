"""Architectures spread over what a budget reaches: one for each of n equal ranges of MACs."""

from __future__ import annotations

import random
from itertools import pairwise

from vitsearch.costs import Constraint, CostModel, reachable_range
from vitsearch.errors import ConstraintError
from vitsearch.samplers.within import draw_within
from vitsearch.spaces import Architecture, SearchSpace


def sample_strata(
    space: SearchSpace,
    constraint: Constraint,
    n: int,
    rng: random.Random,
    *,
    num_classes: int = 1000,
) -> list[Architecture]:
    """Draw `n` distinct architectures inside a budget, from small to large.

    Uniform draws crowd around the mean cost of a space. Here the MACs that the budget reaches are
    cut into `n` ranges of equal width, and one architecture is drawn from each. Ranges in which
    none is found give their share to the whole budget. The smallest and the largest architecture
    of the space are never drawn: they are no typical ones, samplers often train them in every step.

    Args:
        space: Where to draw.
        constraint: The budget.
        n: How many.
        rng: Source of randomness.
        num_classes: Of the classifier, whose cost counts.

    Raises:
        ConstraintError: The space does not reach the budget, or fewer than `n` were found.
    """
    constraint.check_reachable(space, num_classes)
    model = CostModel(space, num_classes)
    ends = {space.smallest(), space.largest()}
    if n > space.size() - len(ends):
        raise ConstraintError(
            f"n={n}: space {space.name} has {space.size() - len(ends)} architectures besides its "
            f"smallest and largest; ask for fewer"
        )
    low, high = map(float, reachable_range(space, "macs", num_classes))
    if (own := constraint.macs) is not None:
        low, high = max(low, own[0]), min(high, own[1])
    found: list[Architecture] = []

    def draw(window: Constraint, count: int) -> None:
        found.extend(draw_within(model, window, count, rng, known=ends.union(found)))

    edges = [low + (high - low) * i / n for i in range(n)] + [high]
    for window in pairwise(edges):
        draw(constraint.with_window("macs", window), 1)
    if len(found) < n:
        draw(constraint, n - len(found))
    if len(found) < n:
        inside = f" within {constraint}" if constraint.windows() else ""
        raise ConstraintError(
            f"n={n}: found {len(found)} architectures of space {space.name}{inside}, its smallest "
            f"and largest left out; ask for fewer or widen the window"
        )
    return sorted(
        found, key=lambda architecture: (model.cost(architecture).macs, architecture.digest)
    )
