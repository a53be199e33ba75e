"""A picture: a figure with a name, a title, and words for those who see it and those who do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitsearch.costs import human

AXIS_NAMES = {
    "macs": "MACs",
    "params": "parameters",
    "latency_ms": "latency, ms",
    "memory_mb": "memory, MB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of a report.

    Attributes:
        name: Of its PNG file, without suffix.
        title: Its heading.
        caption: What to know about it.
        label: What it shows, for those who do not see it.
        draw: Makes the figure (see `vitsearch.reports.style`).
    """

    name: str
    title: str
    caption: str
    label: str
    draw: Callable[[], Any]


_CLOSE = {"columnspacing": 1.0, "handletextpad": 0.4, "handlelength": 1.4}


def cost_axis(axis: Any) -> None:
    """Let an axis count in K, M and G."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: human(value)))


def legend_below(figure: Any, axes: Any, *, columns: int = 2) -> None:
    """The legend of some axes below them, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, **_CLOSE)


def dot_size(count: int) -> float:
    """The area of a dot, in square points, that suits so many dots."""
    return min(22.0, max(4.0, 2600 / max(count, 1)))


MANY = 3000
"""Dots beyond this number become one image inside the picture."""
