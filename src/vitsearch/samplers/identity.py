"""The probability with which a sampled slot is an identity: chosen, or searched for a budget.

Source: ViTAS: Vision Transformer Architecture Search (2021), section 3, "identity shifting".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import fmean

from vitsearch.costs import Constraint, CostModel, human
from vitsearch.costs.constraint import Bound
from vitsearch.costs.rows import RowFormat
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.samplers.base import Sampler, UniformSampler, settle
from vitsearch.samplers.drawing import bit_generator, draw_rows
from vitsearch.spaces import Architecture, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySampler:
    """Another sampler in a space whose slots are identities with another probability.

    Only for spaces with identities (ViTAS). What the sampler draws is legal in the space itself.

    Attributes:
        identity_probability: Between 0 and 1; or a window [low, high] for the mean MACs of sampled
            networks, for which the probability is searched once (`find_identity_probability`).
        sampler: What draws.
        num_classes: Of the classifier, whose MACs count in a window; in a training its own.
        seed: Of the draws by which a probability is searched.
    """

    identity_probability: float | Sequence[Bound]
    sampler: Sampler = field(default_factory=UniformSampler)
    num_classes: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the probability, or bring the window to numbers.

        Raises:
            ConfigError: It is neither.
        """
        given = self.identity_probability
        if isinstance(given, Sequence) and not isinstance(given, str):
            try:
                window = Constraint(macs=tuple(given)).macs
            except ConstraintError as error:
                raise ConfigError(f"sampler.identity_probability: {error}") from error
            object.__setattr__(self, "identity_probability", window)
        elif not isinstance(given, int | float) or not 0 < given < 1:
            raise ConfigError(
                f"sampler.identity_probability={given} must be a number between 0 and 1, or a "
                f"window [low, high] for the mean MACs"
            )

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        """What the other sampler draws.

        Raises:
            ConstraintError: No probability meets the window.
            SpaceError: The space has no identities.
        """
        changed = _with_probability(space, self._probability(space))
        return self.sampler.sample(
            changed, num_architectures=num_architectures, step=step, rank=rank
        )

    def settled(self, space: SearchSpace, *, num_classes: int) -> Sampler:
        """The same with a number in place of the window.

        Raises:
            ConstraintError: No probability meets the window.
            SpaceError: The space has no identities.
        """
        probability = replace(self, num_classes=num_classes)._probability(space)
        changed = _with_probability(space, probability)
        inner = settle(self.sampler, changed, num_classes=num_classes)
        return replace(
            self, identity_probability=probability, sampler=inner, num_classes=num_classes
        )

    def _probability(self, space: SearchSpace) -> float:
        given = self.identity_probability
        if isinstance(given, int | float):
            return given
        return _searched(space, tuple(given), self.num_classes, self.seed)


@lru_cache(maxsize=16)  # a space for each epoch of a warm-up
def _with_probability(space: SearchSpace, probability: float) -> SearchSpace:
    return space.with_identity_probability(probability)


@lru_cache(maxsize=16)
def _searched(space: SearchSpace, window: tuple[Bound, ...], num_classes: int, seed: int) -> float:
    rng = random.Random(seed)
    return find_identity_probability(space, window, rng, num_classes=num_classes)


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
    low, high = Constraint(macs=tuple(window)).windows()["macs"]
    model = CostModel(space, num_classes)
    seed = rng.getrandbits(64)

    def mean_of(sampled: SearchSpace) -> float:
        same = random.Random(seed)  # so that the mean falls with every step, chance or not
        if measure is not None:
            return fmean(measure(sampled.sample(same)) for _ in range(num_draws))
        drawn = draw_rows(RowFormat(sampled), num_draws, bit_generator(same))
        macs = model.rows.costs(drawn)[:, model.rows.metrics.index("macs")]
        return float(macs.mean())  # the same choices, other weights

    means: dict[int, float] = {}
    percent, mean = 50, 0.0
    while 0 < percent < 100:
        mean = mean_of(space.with_identity_probability(percent / 100))
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
