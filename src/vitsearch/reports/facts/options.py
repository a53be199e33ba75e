"""Which options the good architectures share: how often each is taken, against random ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitsearch.reports.facts.run_record import RunRecord, Trial
from vitsearch.spaces import Choice, Value

FEWEST_GOOD = 5
_FEWEST_RANDOM = 20
_DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionShares:
    """How often each option of one choice is taken.

    Attributes:
        choice: Which.
        options: Its options, and `None` at the end where some networks do without the choice.
        good: The share of each among good architectures.
        others: The share among those they are compared with.
        distance: Half of the summed differences: 0 for the same shares, 1 for none in common.
        by_chance: What 95 % of as many architectures drawn from the others stay below.
    """

    choice: Choice
    options: tuple[Value | None, ...]
    good: tuple[float, ...]
    others: tuple[float, ...]
    distance: float
    by_chance: float

    @property
    def stands_out(self) -> bool:
        """Whether chance alone rarely differs so much."""
        return self.distance > self.by_chance


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionFacts:
    """Shares of all choices that the search varied, the most telling first.

    Attributes:
        num_good: How many architectures count as good.
        good_name: Which those are, in words.
        num_others: How many they are compared with.
        others_name: Which those are, in words.
        shares: By choice.
    """

    num_good: int
    good_name: str
    num_others: int
    others_name: str
    shares: tuple[OptionShares, ...]


def option_facts(record: RunRecord) -> OptionFacts | None:
    """The shares of a run; `None` where too few candidates, or no known space, say nothing."""
    trials = record.whole
    if record.space is None or len(trials) < 2 * FEWEST_GOOD:
        return None
    if len(record.front) >= FEWEST_GOOD:
        good, good_name = list(record.front), "on the front"
    else:
        ranked = sorted(trials, key=lambda one: (-one.score, one.costs["macs"], one.digest))
        count = max(FEWEST_GOOD, round(len(trials) / 10))
        good, good_name = ranked[:count], "with the best accuracy"
    others, others_name = list(trials), "candidates"
    first = [trial for trial in trials if trial.generation == 0]
    if len(first) >= _FEWEST_RANDOM and len(first) < len(trials):
        others, others_name = first, "random ones of the first generation"
    shares = [
        _shares(choice, good, others)
        for choice in record.space.choices
        if len({trial.architecture.get(choice.name) for trial in trials}) > 1
    ]
    return OptionFacts(
        num_good=len(good),
        good_name=good_name,
        num_others=len(others),
        others_name=others_name,
        shares=tuple(
            sorted(shares, key=lambda one: (one.by_chance - one.distance, one.choice.name))
        ),
    )


def _shares(choice: Choice, good: Sequence[Trial], others: Sequence[Trial]) -> OptionShares:
    taken = [Counter(t.architecture.get(choice.name) for t in group) for group in (good, others)]
    inactive = (None,) if any(None in found for found in taken) else ()
    options: tuple[Value | None, ...] = (*choice.options, *inactive)
    shares = [[found[option] / found.total() for option in options] for found in taken]
    drawn = np.random.default_rng(0).multinomial(len(good), shares[1], size=_DRAWS) / len(good)
    distances = np.abs(drawn - np.asarray(shares[1])).sum(axis=1) / 2
    return OptionShares(
        choice=choice,
        options=options,
        good=tuple(shares[0]),
        others=tuple(shares[1]),
        distance=sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2,
        by_chance=float(np.quantile(distances, _LEVEL)),
    )
