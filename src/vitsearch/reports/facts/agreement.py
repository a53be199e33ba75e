"""How well one ranking of networks agrees with another: rank correlations with bootstrap intervals.

Every figure is a function of n pairs and of how often each pair counts. Once each gives the figure
itself, draws with replacement its bootstrap distribution, and the same draws for two rankings the
distribution of their difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Measure = Callable[[Floats, Floats, Floats], Floats]
"""x (n,), y (n,) and counts (B, n) to one figure for each row of counts (B,); NaN where undefined.
"""

_LEVEL = 0.95
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its 95 % bootstrap interval; NaN where it is undefined.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        found = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(number) else number for name, number in found.items()}


def kendall_tau_b(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float:
    """Kendall's tau-b of x (n,) and y (n,): in [-1, 1], ties allowed; NaN if one is constant.

    Source: M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    return _once(tau_b_of_counts, x, y)


def spearman_rho(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float:
    """Spearman's rho of x (n,) and y (n,): correlation of midranks; NaN if one is constant."""
    return _once(rho_of_counts, x, y)


def tau_b_of_counts(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Tau-b where pair i counts `counts[b, i]` times; see `Measure`."""
    signs_x, signs_y = _signs(x), _signs(y)

    def over_pairs(values: Floats) -> Floats:
        total: Floats = ((counts @ values) * counts).sum(axis=1)
        return total

    return _ratio(
        over_pairs(signs_x * signs_y),
        over_pairs(np.abs(signs_x)) * over_pairs(np.abs(signs_y)),
    )


def rho_of_counts(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Spearman's rho where pair i counts `counts[b, i]` times; see `Measure`."""

    def centred_ranks(values: Floats) -> Floats:
        # The midrank of i: how many lie below it, and half of those that equal it.
        ranks = counts @ ((_signs(values) + 1) / 2).T
        mean = (ranks * counts).sum(axis=1) / counts.sum(axis=1)
        centred: Floats = ranks - mean[:, None]
        return centred

    ranks_x, ranks_y = centred_ranks(x), centred_ranks(y)
    return _ratio(
        (counts * ranks_x * ranks_y).sum(axis=1),
        (counts * ranks_x**2).sum(axis=1) * (counts * ranks_y**2).sum(axis=1),
    )


def partial_tau_of_counts(control: Sequence[float]) -> Measure:
    """Kendall's partial tau of x and y given a third ranking, as a `Measure` of x and y.

    (t_xy - t_xz t_yz) / sqrt((1 - t_xz^2) (1 - t_yz^2)), each a tau-b: what x says of y besides
    what z says of both. It is undefined (NaN) where z alone decides the order of x or of y.

    Args:
        control: z (n,).

    Source: M. G. Kendall, "Partial rank correlation", Biometrika 32 (1942).
    """
    third = _floats(control)

    def measure(x: Floats, y: Floats, counts: Floats) -> Floats:
        xy, xz, yz = (
            tau_b_of_counts(first, second, counts)
            for first, second in ((x, y), (x, third), (y, third))
        )
        product = (1 - xz**2) * (1 - yz**2)
        defined = np.minimum(1 - xz**2, 1 - yz**2) > _ROUNDING
        return _ratio(xy - xz * yz, np.where(defined, product, np.nan))

    return measure


MEASURES: dict[str, Measure] = {"kendall_tau_b": tau_b_of_counts, "spearman_rho": rho_of_counts}


def resample_counts(n: int, samples: int, seed: int = 0) -> Floats:
    """How often each of n items is drawn in bootstrap samples of n draws: (samples, n)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=samples).astype(np.float64)


def estimate(measure: Measure, x: Sequence[float], y: Sequence[float], counts: Floats) -> Estimate:
    """A figure of x (n,) and y (n,) with its bootstrap interval over draws `counts` (B, n)."""
    first, second = _floats(x), _floats(y)
    value = float(measure(first, second, np.ones((1, len(first))))[0])
    return _with_interval(value, measure(first, second, counts))


def estimate_difference(
    measure: Measure,
    x: Sequence[float],
    baseline: Sequence[float],
    y: Sequence[float],
    counts: Floats,
) -> Estimate:
    """By how much x (n,) agrees better with y (n,) than a baseline (n,) does; paired bootstrap."""
    first, second, truth = _floats(x), _floats(baseline), _floats(y)

    def difference(drawn: Floats) -> Floats:
        better: Floats = measure(first, truth, drawn) - measure(second, truth, drawn)
        return better

    value = float(difference(np.ones((1, len(truth))))[0])
    return _with_interval(value, difference(counts))


def precision_at(k: int, predicted: Sequence[Any], truth: Sequence[Any]) -> float:
    """Which part of the first k of one ranking is among the first k of another.

    Args:
        k: From 1 to the length of the rankings.
        predicted: Items, best first.
        truth: The same items, best first.
    """
    assert 1 <= k <= len(predicted) == len(truth), (k, len(predicted), len(truth))
    return len(set(predicted[:k]) & set(truth[:k])) / k


def _signs(values: Floats) -> Floats:
    """(n, n): 1 where item i lies above item j, -1 below, 0 where they are equal."""
    rows, columns = values[:, None], values[None, :]
    signs = (rows > columns).astype(np.float64) - (rows < columns)  # infinities are equal, too
    return signs


def _ratio(covariance: Floats, product: Floats) -> Floats:
    result = np.full(len(covariance), np.nan)
    np.divide(covariance, np.sqrt(product), out=result, where=product > 0)
    clipped: Floats = np.clip(result, -1.0, 1.0)
    return clipped


def _with_interval(value: float, drawn: Floats) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(known) < len(drawn) / 2:
        return Estimate(value=value, low=math.nan, high=math.nan)
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def _once(measure: Measure, x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float:
    first, second = _floats(x), _floats(y)
    assert first.shape == second.shape, (first.shape, second.shape)
    return float(measure(first, second, np.ones((1, len(first))))[0])


def _floats(values: Sequence[float] | Floats) -> Floats:
    return np.asarray(values, dtype=np.float64)
