"""A budget with all it takes to check it: closed forms first, measurements after them.

Values that were measured stay: an architecture is measured once, whatever the machine would say a
second time, so that a search is consistent in itself and goes on unchanged after a restart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

from vitsearch.costs import Constraint, Cost, CostModel
from vitsearch.costs.measure import Measures
from vitsearch.costs.metrics import MEASURED, metrics, named
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.samplers import draw_measured, draw_within
from vitsearch.spaces import Architecture, SearchSpace

Allowed = Callable[[Architecture], bool]
_DRAWS_EACH = 200  # for each architecture asked for


class Budget:
    """The windows of a search, what architectures cost, and draws inside the windows.

    Attributes:
        constraint: The windows.
        metrics: Measured costs that the search looks at.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        num_classes: int = 1000,
        measure: Measures | None = None,
        also: Container[str] = (),
        allowed: Allowed | None = None,
    ) -> None:
        """Check what can be checked without measuring.

        Args:
            space: Where to search.
            constraint: The windows; none by default.
            num_classes: Of the classifier, whose cost counts.
            measure: What measures an architecture, for each measured cost; called once for each.
            also: Metrics to measure although no window limits them, such as those of a front.
            allowed: A further condition on architectures; asked before anything is measured. If
                it has a method `draw(rng)`, random architectures come from there.

        Raises:
            ConfigError: A measured cost has nothing that measures it.
            ConstraintError: The space does not reach a window.
        """
        self.constraint = constraint or Constraint()
        self.constraint.check_reachable(space, num_classes)
        windows = self.constraint.measured_windows()
        measured = [metric.name for metric in metrics(MEASURED)]
        self.metrics = tuple(name for name in measured if name in windows or name in also)
        self._measure = dict(measure or {})
        for name in self.metrics:
            if name not in self._measure:
                raise ConfigError(
                    f"{name} is measured, not computed: give the searcher "
                    f"measure={{'{name}': <function of an architecture>}}"
                )
        self._allowed = allowed
        self._model = CostModel(space, num_classes)
        self._values: dict[str, dict[str, float]] = {name: {} for name in self.metrics}

    def cost(self, architecture: Architecture) -> Cost:
        """The closed-form costs."""
        return self._model.cost(architecture)

    def value(self, metric: str, architecture: Architecture) -> float:
        """Any cost, by name."""
        if metric not in self._values:
            return float(self.cost(architecture)[metric])
        values = self._values[metric]
        if architecture.digest not in values:
            values[architecture.digest] = float(self._measure[metric](architecture))
        return values[architecture.digest]

    def measured(self, architecture: Architecture) -> dict[str, float]:
        """All measured costs that the search looks at."""
        return {metric: self.value(metric, architecture) for metric in self.metrics}

    def holds(self, architecture: Architecture) -> bool:
        """Whether every window holds; measures only what closed forms let through."""
        return self.may_hold(architecture) and all(
            low <= self.value(metric, architecture) <= high
            for metric, (low, high) in self.constraint.measured_windows().items()
        )

    def may_hold(self, architecture: Architecture) -> bool:
        """Whether all holds that can be said without measuring."""
        if self.constraint.windows() and not self.constraint.holds(self.cost(architecture)):
            return False
        return self._allowed is None or self._allowed(architecture)

    def draw(
        self,
        n: int,
        rng: random.Random,
        *,
        known: Container[Architecture] = (),
        measured: bool = True,
    ) -> list[Architecture]:
        """Up to `n` distinct architectures inside all windows that are not in `known`.

        Without `measured` the windows on measured costs are left open, and nothing is measured.
        """
        draw_one = getattr(self._allowed, "draw", None)
        if draw_one is not None:
            holds = self.holds if measured else self.may_hold
            return _drawn(n, partial(draw_one, rng), known, holds)
        if self._allowed is not None:
            known = _Excluded(known, self._allowed)
        if not measured or not self.constraint.measured_windows():
            return draw_within(self._model, self.constraint, n, rng, known=known)
        return draw_measured(
            self._model, self.constraint, n, rng, excess=self._measured_excess, known=known
        )

    def nothing_found(self) -> ConstraintError:
        """The error for windows in which no architecture was found: says what was reached."""
        reached = [
            f"{name} from {named(name).text(min(values.values()))} to "
            f"{named(name).text(max(values.values()))}"
            for name, values in self._values.items()
            if values
        ]
        tried = max((len(values) for values in self._values.values()), default=0)
        seen = f" ({tried} measured: {', '.join(reached)})" if reached else ""
        return ConstraintError(
            f"no {'' if self._allowed is None else 'allowed '}architecture of space "
            f"{self._model.space.name} was found within {self.constraint}{seen}; widen the window"
        )

    def _measured_excess(self, architecture: Architecture) -> float:
        windows = self.constraint.measured_windows()
        return self.constraint.measured_excess({m: self.value(m, architecture) for m in windows})

    def state_dict(self) -> dict[str, Any]:
        """All measured values, by metric and digest."""
        return {metric: dict(values) for metric, values in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the values of `state_dict`."""
        for metric in self.metrics:
            known = state.get(metric, {})
            self._values[metric] = {str(digest): float(v) for digest, v in known.items()}


class _Excluded:
    """What is not to be drawn: what is known, and what is not allowed."""

    def __init__(self, known: Container[Architecture], allowed: Allowed) -> None:
        self._known, self._allowed = known, allowed

    def __contains__(self, architecture: object) -> bool:
        if architecture in self._known:
            return True
        return isinstance(architecture, Architecture) and not self._allowed(architecture)


def _drawn(
    n: int, draw: Callable[[], Architecture], known: Container[Architecture], holds: Allowed
) -> list[Architecture]:
    """Up to `n` distinct architectures of those that are drawn; tries are bounded."""
    found: dict[Architecture, None] = {}
    for _ in range(_DRAWS_EACH * n):
        one = draw()
        if one not in known and one not in found and holds(one):
            found[one] = None
        if len(found) == n:
            break
    return list(found)
