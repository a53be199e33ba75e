"""A picture: a figure with a name, a title, and words for those who see it and those who do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitsearch.costs import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of a report.

    Attributes:
        name: Of its PNG file, without suffix.
        title: Its heading.
        caption: What to know about it.
        label: What it shows, for those who do not see it.
        draw: Makes the figure (see `vitsearch.reports.pictures.style`).
    """

    name: str
    title: str
    caption: str
    label: str
    draw: Callable[[], Any]


def cost_axis(axis: Any, metric: Metric) -> None:
    """Let an axis count as the metric is read, MACs in K, M and G."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: metric.text(value)))


def legend_outside(figure: Any, axes: Any, place: str, *, dots: int = 0) -> None:
    """The legend of some axes above or below them, where it hides nothing.

    Args:
        figure: Whose.
        axes: What it explains.
        place: `upper` or `lower`.
        dots: How many dots there are; the legend's are as large as those of a few.
    """
    handles, labels = axes.get_legend_handles_labels()
    letters = sum(len(label) + 7 for label in labels)
    figure.legend(
        handles,
        labels,
        loc=f"outside {place} left",
        ncols=len(labels) if letters < _LETTERS else 2,
        markerscale=(dot_size(1) / dot_size(dots)) ** 0.5,
        columnspacing=1.0,
        handletextpad=0.4,
        handlelength=1.4,
    )


def dot_size(count: int) -> float:
    """The area of a dot, in square points, that suits so many dots."""
    return min(22.0, max(7.0, 2600 / max(count, 1)))


_LETTERS = 72  # of a line of a legend
MANY = 3000
"""Dots beyond this number become one image inside the picture."""
