"""Timing side by side: every candidate once in each round, medians over the rounds, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one candidate, and its ratio to the reference, round by round."""

    median: float
    ratio: float
    ratio_low: float
    ratio_high: float


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2
) -> dict[str, Timing]:
    """Time callables in interleaved rounds; the first is the reference of all ratios."""
    for _ in range(warmup):
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    reference = seconds[next(iter(candidates))]
    found = {}
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, reference, strict=True)]
        found[name] = Timing(
            median=statistics.median(own),
            ratio=statistics.median(ratios),
            ratio_low=min(ratios),
            ratio_high=max(ratios),
        )
    return found
