"""A budget: windows on what a network may cost.

MACs and parameters have closed forms, so whole spaces can be asked whether they reach a window.
Latency and memory are measured, one architecture at a time: a constraint holds their windows and
how to measure; the values come from whoever checks them (`vitsearch.searchers.budget`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitsearch.costs.measure import MeasureSettings
from vitsearch.costs.metrics import (
    CLOSED_FORM,
    MEASURED,
    SUFFIXES,
    Kind,
    cost_metrics,
    find_cost,
    metrics,
    named,
)
from vitsearch.errors import ConstraintError
from vitsearch.spaces import Cost, SearchSpace

Bound = float | int | str | None
Window = tuple[float, float]
_DEFAULT = MeasureSettings()


def _bound(metric: str, value: Bound, missing: float) -> float:
    if value is None:
        return missing
    if isinstance(value, str):
        text = value.strip().upper()
        scale = SUFFIXES.get(text[-1:])
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


@dataclass(frozen=True, slots=True, init=False)
class Constraint:
    """Windows on costs, both ends included; `None` leaves a metric, or one end, free.

    Every cost of the table (`vitsearch.costs.metrics`) can have a window, under its name:
    `Constraint(macs=(1e9, 2e9), latency_ms=(None, 5))`. As attributes, windows are numbers.

    Attributes:
        measure: How the measured ones are measured.
    """

    _closed: tuple[tuple[str, Window], ...]
    _measured: tuple[tuple[str, Window], ...]
    measure: MeasureSettings

    def __init__(
        self,
        *,
        measure: MeasureSettings | Mapping[str, Any] = _DEFAULT,
        **windows: Sequence[Bound] | None,
    ) -> None:
        """Bring windows to numbers.

        Args:
            measure: How the measured ones are measured, settings by name are taken, too.
            windows: (low, high), by the name of a metric. `macs` and `params` count the classifier;
                `latency_ms` and `memory_mb` (10^6 bytes) are those of a batch.

        Raises:
            ConstraintError: A window is not two bounds in ascending order, its name is no metric's,
                or a setting of `measure` is out of range.
        """
        for name in windows:
            if find_cost(name) is None:
                legal = ", ".join([*(one.name for one in cost_metrics()), "measure"])
                raise ConstraintError(
                    f"constraint.{name}: {name} is no metric; legal: {legal}; a metric of one's "
                    f"own is registered first (vitsearch.costs.register_metric)"
                )
        read = {name: _window(name, window) for name, window in windows.items()}
        object.__setattr__(self, "_closed", _of_kind(CLOSED_FORM, read))
        object.__setattr__(self, "_measured", _of_kind(MEASURED, read))
        if isinstance(measure, Mapping):
            measure = MeasureSettings.from_settings(measure)
        elif not isinstance(measure, MeasureSettings):
            raise ConstraintError(
                f"constraint.measure={measure} must be settings by name, such as device"
            )
        object.__setattr__(self, "measure", measure)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Constraint:
        """A budget from windows by name, as a configuration holds them.

        Raises:
            ConstraintError: A window is malformed, or its name unknown.
        """
        return cls(**settings)

    def __getattr__(self, name: str) -> Window | None:
        if name.startswith("_") or find_cost(name) is None:
            raise AttributeError(f"a Constraint has no {name}")
        return self.all_windows().get(name)

    def __repr__(self) -> str:
        windows = [f"{name}={window}" for name, window in self.all_windows().items()]
        return f"Constraint({', '.join([*windows, f'measure={self.measure}'])})"

    def windows(self) -> dict[str, Window]:
        """The windows on closed forms that are set, by metric."""
        return dict(self._closed)

    def measured_windows(self) -> dict[str, Window]:
        """The windows on measured costs that are set, by metric."""
        return dict(self._measured)

    def all_windows(self) -> dict[str, Window]:
        """All windows that are set, by metric: those on closed forms first."""
        return dict(self._closed + self._measured)

    def computed(self) -> Constraint:
        """The same without windows on measured costs."""
        return Constraint(measure=self.measure, **dict(self._closed))

    def with_window(self, metric: str, window: Sequence[Bound] | None) -> Constraint:
        """The same with another window on one metric, or none.

        Raises:
            ConstraintError: The window is malformed, or there is no such metric.
        """
        return Constraint(measure=self.measure, **{**self.all_windows(), metric: window})

    def holds(self, cost: Cost) -> bool:
        """Whether a cost lies in every window on closed forms."""
        return self.excess(cost) == 0

    def excess(self, cost: Cost) -> float:
        """How far outside a cost lies: relative distances to the windows, added up; 0 inside."""
        return sum((_excess(cost[name], window) for name, window in self._closed), 0.0)

    def measured_excess(self, values: Mapping[str, float]) -> float:
        """The same of measured costs, for those of their windows that `values` has."""
        known = ((m, window) for m, window in self._measured if m in values)
        return sum((_excess(values[m], window) for m, window in known), 0.0)

    def violated(self, cost: Cost) -> tuple[str, bool] | None:
        """A metric whose window a cost misses, and whether it is too small; `None` inside."""
        for metric, (low, high) in self._closed:
            value = cost[metric]
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
                text = named(metric).text
                raise ConstraintError(
                    f"constraint.{metric}=[{low:.12g}, {high:.12g}] cannot be met: space "
                    f"{space.name} reaches {smallest} to {largest} {metric} "
                    f"({text(smallest)} to {text(largest)})"
                )

    def __str__(self) -> str:
        parts = []
        for name, (low, high) in self.all_windows().items():
            metric = named(name)
            upper = "any" if math.isinf(high) else metric.text(high)
            unit = f" {metric.unit}" if metric.unit else ""
            parts.append(f"{metric.label} {metric.text(low)} to {upper}{unit}")
        return ", ".join(parts) or "none"


def _window(metric: str, window: Sequence[Bound] | None) -> Window | None:
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


def _of_kind(kind: Kind, windows: Mapping[str, Window | None]) -> tuple[tuple[str, Window], ...]:
    """The windows on metrics of one kind that are set, in the order of the table."""
    found = ((one.name, windows.get(one.name)) for one in metrics(kind))
    return tuple((name, window) for name, window in found if window is not None)


def _excess(value: float, window: tuple[float, float]) -> float:
    low, high = window
    if value < low:
        return (low - value) / low
    return (value - high) / max(high, 1.0) if value > high else 0.0


def reachable_range(space: SearchSpace, metric: str, num_classes: int) -> tuple[int, int]:
    """The exact smallest and largest value of a closed form, such as `macs`, over a space.

    Raises:
        SpaceError: The metric has no closed form.
    """
    ends = [
        space.extreme(metric, largest=largest, num_classes=num_classes)[1][metric]
        for largest in (False, True)
    ]
    return ends[0], ends[1]
