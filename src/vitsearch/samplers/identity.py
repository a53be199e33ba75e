"""The probability of identities with which sampled networks meet a budget on average.

Source: ViTAS: Vision Transformer Architecture Search (2021), section 3, "identity shifting".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from statistics import fmean

from vitsearch.costs import Constraint, CostModel, human
from vitsearch.costs.constraint import Bound
from vitsearch.errors import ConstraintError
from vitsearch.spaces import Architecture, SearchSpace


def find_identity_probability(
    space: SearchSpace,
    window: Sequence[Bound],
    rng: random.Random,
    *,
    measure: Callable[[Architecture], float] | None = None,
    num_classes: int = 1000,
    num_draws: int = 1000,
) -> float:
    """Search the probability for which the mean of sampled architectures lies in a window.

    It starts at 0.5 and goes up by 0.01 while the mean lies above the window, down while below.
    `space.with_identity_probability` takes the result.

    Args:
        space: A space with identities.
        window: Lower and upper bound of the mean; one of them may be `None`.
        rng: Source of randomness.
        measure: What is averaged, if not MACs; it must fall with fewer blocks (seconds an image).
        num_classes: Of the classifier, whose MACs count.
        num_draws: Architectures drawn for each probability.

    Raises:
        ConstraintError: No probability between 0 and 1 meets the window; the message names it.
        SpaceError: The space has no identities.
    """
    low, high = Constraint(macs=tuple(window)).windows()["macs"]  # type: ignore[arg-type]
    if measure is None:
        model = CostModel(space, num_classes)
        measure = lambda architecture: model.cost(architecture).macs  # noqa: E731
    means: dict[int, float] = {}
    percent, mean = 50, 0.0
    while 0 < percent < 100:
        sampled = space.with_identity_probability(percent / 100)
        mean = fmean(measure(sampled.sample(rng)) for _ in range(num_draws))
        if low <= mean <= high:
            return percent / 100
        step = 1 if mean > high else -1
        means[percent] = mean
        if percent + step in means:
            raise ConstraintError(
                f"identity probability: the mean jumps over the window [{low:.6g}, {high:.6g}] "
                f"between {percent / 100:g} ({human(mean)}) and {(percent + step) / 100:g} "
                f"({human(means[percent + step])}); widen it"
            )
        percent += step
    raise ConstraintError(
        f"identity probability: no value between 0 and 1 gives space {space.name} a mean in "
        f"[{low:.6g}, {high:.6g}]; near {percent // 100} it is {human(mean)}"
    )
