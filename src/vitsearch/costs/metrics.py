"""The table of metrics: everything that a network can cost or score, each in one entry.

Windows, rows, samplers, searchers, the history, result tables, fronts, axes and words iterate over
this table. So a metric of one's own is one file:

    from vitsearch.costs import Metric, register_metric

    def tokens(piece, num_classes):
        return getattr(piece, "num_tokens", 0)

    register_metric(Metric(name="tokens", kind="closed form", label="tokens", piece=tokens))

A package offers one by an entry point of the group `vitsearch.metrics`, under the metric's name; it
is loaded when something asks for that name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from vitsearch.costs.measure import Subject
from vitsearch.errors import ConfigError
from vitsearch.spaces.cost import FURTHER, ClosedForm, Joining

ENTRY_POINT_GROUP = "vitsearch.metrics"

Kind = Literal["closed form", "measured", "score"]
CLOSED_FORM: Kind = "closed form"
MEASURED: Kind = "measured"
SCORE: Kind = "score"
SUFFIXES = {"K": 1e3, "M": 1e6, "G": 1e9}


def human(number: float) -> str:
    """A count with three digits and a unit: 1.47 G, 285 K."""
    for suffix, scale in reversed(SUFFIXES.items()):
        if float(f"{abs(number) / scale:.3g}") >= 1:  # 999,999 is 1 M, not 1000 K
            return f"{number / scale:.3g} {suffix}"
    return f"{number:.3g}"


def percent(share: float) -> str:
    """An accuracy in [0, 1] as people read it."""
    return f"{100 * share:.1f} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that a network costs or scores.

    Attributes:
        name: In settings, files and results, such as `latency_ms`.
        kind: `closed form`: follows from the sizes; `measured`: taken on a machine; `score`: what a
            search maximises.
        label: What people call it.
        unit: After its numbers; empty for counts.
        short: The heading of a narrow column; the label by default.
        better: Which networks are better, those with `smaller` or with `larger` numbers. Fronts
            take costs that are better when smaller.
        text: A number as people read it, without unit.
        piece: Of a closed form: from the plan of a piece (stem, transition, mixer, MLP, a block's
            norms, head) and the number of classes (0 where the piece is not the head) to a whole
            number, 0 or more.
        joining: Of a closed form: whether the numbers of pieces add up (`sum`), or the largest is
            that of the network (`max`).
        measure: Of a measured metric: takes the number of one architecture.
    """

    name: str
    kind: Kind
    label: str
    unit: str = ""
    short: str = ""
    better: Literal["smaller", "larger"] = "smaller"
    text: Callable[[float], str] = human
    piece: Callable[[Any, int], int] | None = None
    joining: Joining = "sum"
    measure: Callable[[Subject], float] | None = None

    @property
    def heading(self) -> str:
        """The label with the unit: of a column, of an axis."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def narrow_heading(self) -> str:
        """The shortest name that is clear beside the others."""
        return self.short or self.heading

    def text_with_unit(self, number: float) -> str:
        """A number as people read it, with its unit."""
        return f"{self.text(number)} {self.unit}" if self.unit else self.text(number)


MACS = Metric(name="macs", kind=CLOSED_FORM, label="MACs")
PARAMS = Metric(name="params", kind=CLOSED_FORM, label="parameters", short="params")
LATENCY = Metric(name="latency_ms", kind=MEASURED, label="latency", unit="ms", short="ms")
MEMORY = Metric(name="memory_mb", kind=MEASURED, label="memory", unit="MB", short="MB")
TOP1 = Metric(name="top1", kind=SCORE, label="top-1", better="larger", text=percent)

_TABLE: dict[str, Metric] = {one.name: one for one in (MACS, PARAMS, LATENCY, MEMORY, TOP1)}
OWN = frozenset(_TABLE)
"""The names of the library's own."""
# What files that hold costs by name, and a section of windows, have for something else.
_TAKEN = {
    *("architecture", "correct", "digest", "generation", "origin", "parents", "total"),
    *("class_names", "format", "name", "num_classes", "pretrained_cfg", "space"),
    *("constraint", "measure", "random_median_top1", "search_top1", "test_top1"),
}


def metrics(*kinds: Kind) -> tuple[Metric, ...]:
    """The metrics of some kinds, kind after kind; those with closed forms come first."""
    return tuple(one for kind in kinds for one in _TABLE.values() if one.kind == kind)


def cost_metrics() -> tuple[Metric, ...]:
    """All costs: those with closed forms, then the measured ones."""
    return metrics(CLOSED_FORM, MEASURED)


def find_metric(name: str) -> Metric | None:
    """The metric with this name; `None` if there is none, and no package offers one.

    Raises:
        ConfigError: What a package offers cannot be loaded, or is no metric of this name.
    """
    if name not in _TABLE and name not in _TAKEN:
        point = _offered(tuple(sys.path)).get(name)
        if point is not None:
            _load(point)
    return _TABLE.get(name)


def find_cost(name: str) -> Metric | None:
    """The same, where only a cost will do.

    Raises:
        ConfigError: What a package offers cannot be loaded, or is no metric of this name.
    """
    found = find_metric(name)
    return None if found is None or found.kind == SCORE else found


def named(name: str) -> Metric:
    """The metric with this name, where it is known to be there.

    Raises:
        ConfigError: It is not.
    """
    found = find_metric(name)
    if found is None:
        raise ConfigError(f"metric {name} is unknown; legal: {', '.join(_TABLE)}")
    return found


def costs_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The costs among the values of a record, such as a line of the history, in the table's order.

    Raises:
        ConfigError: What a package offers under one of the names cannot be loaded.
    """
    for name in record:
        find_metric(name)
    return {one.name: record[one.name] for one in cost_metrics() if one.name in record}


def load_offered() -> None:
    """Load every metric that a package offers.

    Raises:
        ConfigError: One cannot be loaded, or is no metric of its name.
    """
    for name in _offered(tuple(sys.path)):
        find_metric(name)


@lru_cache(maxsize=1)  # looking for entry points takes milliseconds
def _offered(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(point: EntryPoint) -> None:
    described = f"metric {point.name} ({point.value})"
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(f"{described} cannot be loaded: {error}") from error
    if not isinstance(found, Metric) or found.name != point.name:
        raise ConfigError(f"{described} must be a Metric of this name, not {found!r}")
    if _TABLE.get(point.name) != found:  # else its module has registered it
        register_metric(found)


def register_metric(metric: Metric) -> None:
    """Make a cost known, before spaces are searched: it has windows, columns and axes from then on.

    Raises:
        ConfigError: The name is taken or none, or nothing says how the numbers are had.
    """
    name = metric.name
    if name in _TABLE:
        raise ConfigError(f"metric {name} is registered already; choose another name")
    if name in _TAKEN:
        raise ConfigError(f"metric {name} is the name of something else; choose another one")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"metric {name!r}: a name must be small letters, digits and _, a letter first"
        )
    needed = {CLOSED_FORM: "piece", MEASURED: "measure"}.get(metric.kind)
    if needed is None:
        raise ConfigError(
            f"metric {name}: kind={metric.kind} cannot be registered; legal: {CLOSED_FORM}, "
            f"{MEASURED}"
        )
    if getattr(metric, needed) is None:
        raise ConfigError(f"metric {name}: a metric of kind {metric.kind} needs {needed}=")
    if metric.kind == CLOSED_FORM and metric.piece is not None:
        if metric.joining not in ("sum", "max"):
            raise ConfigError(
                f"metric {name}: joining={metric.joining} is unknown; legal: sum, max"
            )
        FURTHER[name] = ClosedForm(name=name, of=metric.piece, joining=metric.joining)
    _TABLE[name] = metric


def forget_metric(name: str) -> None:
    """Take back `register_metric`, for notebooks and tests; a name that is not there is no error.

    Raises:
        ConfigError: It is one of the library's own.
    """
    if name in OWN:
        raise ConfigError(f"metric {name} is the library's own and stays")
    _TABLE.pop(name, None)
    FURTHER.pop(name, None)
