"""A budget: windows on what a network may cost.

MACs and parameters have closed forms, so whole spaces can be asked whether they reach a window.
Latency and memory are measured, one architecture at a time: a constraint holds their windows and
how to measure; the values come from whoever checks them (`vitsearch.searchers.budget`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from vitsearch.costs.measure import CLOSED_FORM, MEASURED, MeasureSettings
from vitsearch.errors import ConstraintError
from vitsearch.spaces import Cost, SearchSpace

Bound = float | int | str | None
_SUFFIXES = {"K": 1e3, "M": 1e6, "G": 1e9}
_NAMES = {
    "macs": ("MACs", ""),
    "params": ("parameters", ""),
    "latency_ms": ("latency", " ms"),
    "memory_mb": ("memory", " MB"),
}


def human(number: float) -> str:
    """A count with three digits and a unit: 1.47 G, 285 K."""
    for suffix, scale in reversed(_SUFFIXES.items()):
        if float(f"{abs(number) / scale:.3g}") >= 1:  # 999,999 is 1 M, not 1000 K
            return f"{number / scale:.3g} {suffix}"
    return f"{number:.3g}"


def _bound(metric: str, value: Bound, missing: float) -> float:
    if value is None:
        return missing
    if isinstance(value, str):
        text = value.strip().upper()
        scale = _SUFFIXES.get(text[-1:])
        try:
            number = float(text) if scale is None else float(text[:-1]) * scale
        except ValueError:
            number = math.nan
    else:
        number = float(value) if isinstance(value, int | float) else math.nan
    if not number >= 0 or isinstance(value, bool):
        raise ConstraintError(
            f"constraint.{metric}: {value!r} is no bound; give a number, a number with K, M or G, "
            f"or null"
        )
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Windows, both ends included; `None` leaves a metric, or one end, free.

    Attributes:
        macs: (low, high) multiply-accumulates of one image, the classifier included.
        params: (low, high) learned numbers, the classifier included.
        latency_ms: (low, high) milliseconds for a batch, measured.
        memory_mb: (low, high) peak memory of a batch in 10^6 bytes, weights included, measured.
        measure: How the measured ones are measured; settings by name are taken too.
    """

    macs: tuple[float, float] | None = None
    params: tuple[float, float] | None = None
    latency_ms: tuple[float, float] | None = None
    memory_mb: tuple[float, float] | None = None
    measure: MeasureSettings = field(default_factory=MeasureSettings)

    def __post_init__(self) -> None:
        """Bring windows to numbers.

        Raises:
            ConstraintError: A window is not two bounds in ascending order, or a setting of
                `measure` is out of range.
        """
        for metric in (*CLOSED_FORM, *MEASURED):
            object.__setattr__(self, metric, self._window(metric, getattr(self, metric)))
        if isinstance(self.measure, Mapping):
            object.__setattr__(self, "measure", MeasureSettings.from_settings(self.measure))
        elif not isinstance(self.measure, MeasureSettings):
            raise ConstraintError(
                f"constraint.measure={self.measure} must be settings by name, such as device"
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Constraint:
        """A budget from windows by name, as a configuration holds them.

        Raises:
            ConstraintError: A window is malformed, or its name unknown.
        """
        legal = [field.name for field in fields(cls)]
        for name in settings:
            if name not in legal:
                raise ConstraintError(
                    f"constraint.{name} is no metric with a window; legal: {', '.join(legal)}"
                )
        return cls(**settings)

    @staticmethod
    def _window(metric: str, window: Sequence[Bound] | None) -> tuple[float, float] | None:
        if window is None:
            return None
        if isinstance(window, str) or not isinstance(window, Sequence) or len(window) != 2:
            raise ConstraintError(
                f"constraint.{metric}={window} must be two bounds [low, high]; null leaves one free"
            )
        low, high = _bound(metric, window[0], 0.0), _bound(metric, window[1], math.inf)
        if low > high:
            raise ConstraintError(
                f"constraint.{metric}=[{low:g}, {high:g}] is empty: the lower bound comes first"
            )
        return low, high

    def windows(self) -> dict[str, tuple[float, float]]:
        """The windows on closed forms that are set, by metric."""
        return self._set(CLOSED_FORM)

    def measured_windows(self) -> dict[str, tuple[float, float]]:
        """The windows on measured costs that are set, by metric."""
        return self._set(MEASURED)

    def computed(self) -> Constraint:
        """The same without windows on measured costs."""
        return replace(self, latency_ms=None, memory_mb=None)

    def _set(self, metrics: Sequence[str]) -> dict[str, tuple[float, float]]:
        found = {metric: getattr(self, metric) for metric in metrics}
        return {metric: window for metric, window in found.items() if window is not None}

    def holds(self, cost: Cost) -> bool:
        """Whether a cost lies in every window on closed forms."""
        return self.excess(cost) == 0

    def excess(self, cost: Cost) -> float:
        """How far outside a cost lies: relative distances to the windows, added up; 0 inside."""
        windows = self.windows().items()
        return sum((_excess(getattr(cost, metric), window) for metric, window in windows), 0.0)

    def measured_excess(self, values: Mapping[str, float]) -> float:
        """The same of measured costs, for those of their windows that `values` has."""
        windows = self.measured_windows().items()
        return sum((_excess(values[m], window) for m, window in windows if m in values), 0.0)

    def violated(self, cost: Cost) -> tuple[str, bool] | None:
        """A metric whose window a cost misses, and whether it is too small; `None` inside."""
        for metric, (low, high) in self.windows().items():
            value = getattr(cost, metric)
            if not low <= value <= high:
                return metric, value < low
        return None

    def check_reachable(self, space: SearchSpace, num_classes: int) -> None:
        """Refuse a window that no architecture of the space can meet.

        Raises:
            ConstraintError: Names the window and the exact range that the space reaches.
        """
        for metric, (low, high) in self.windows().items():
            smallest, largest = reachable_range(space, metric, num_classes)
            if high < smallest or low > largest:
                raise ConstraintError(
                    f"constraint.{metric}=[{low:.12g}, {high:.12g}] cannot be met: space "
                    f"{space.name} reaches {smallest} to {largest} {metric} "
                    f"({human(smallest)} to {human(largest)})"
                )

    def __str__(self) -> str:
        parts = []
        for metric, (low, high) in {**self.windows(), **self.measured_windows()}.items():
            name, unit = _NAMES[metric]
            upper = "any" if math.isinf(high) else human(high)
            parts.append(f"{name} {human(low)} to {upper}{unit}")
        return ", ".join(parts) or "none"


def _excess(value: float, window: tuple[float, float]) -> float:
    low, high = window
    if value < low:
        return (low - value) / low
    return (value - high) / max(high, 1.0) if value > high else 0.0


def reachable_range(space: SearchSpace, metric: str, num_classes: int) -> tuple[int, int]:
    """The exact smallest and largest value of `macs` or `params` over a space."""
    ends = []
    for largest in (False, True):
        architecture, _ = space.extreme(metric, largest=largest)
        ends.append(int(getattr(space.plan(architecture).cost(num_classes), metric)))
    return ends[0], ends[1]
