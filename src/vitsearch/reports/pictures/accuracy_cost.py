"""Accuracy against a cost: all candidates, what none of them betters, budget, best, largest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from vitsearch.costs.metrics import cost_metrics, named
from vitsearch.reports.facts.run_record import RunRecord, Trial
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.base import (
    MANY,
    Picture,
    cost_axis,
    dot_size,
    legend_outside,
)
from vitsearch.reports.words.figure import capital


def accuracy_cost_pictures(record: RunRecord) -> list[Picture]:
    """A picture for MACs, and for every other cost that was minimised or had a window."""
    if not record.whole:
        return []
    wanted = {"macs", *record.minimise, *record.constraint.all_windows()}
    costs = [metric.name for metric in cost_metrics() if metric.name in wanted]
    return [
        _picture(record, cost)
        for cost in costs
        if all(cost in trial.costs for trial in record.whole)
    ]


def front_by(trials: Sequence[Trial], cost: str) -> list[Trial]:
    """What no other candidate betters in accuracy or in this one cost, the cheapest first."""
    found: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (one.costs[cost], -one.score, one.digest)):
        if not found or trial.score > found[-1].score:
            found.append(trial)
    return found


def _picture(record: RunRecord, cost: str) -> Picture:
    front = front_by(record.whole, cost)
    name, text = named(cost).label, named(cost).text
    low, high = front[0], front[-1]
    figure, what = record.figure, record.figure.noun
    caption = (
        f"The line joins the {len(front)} candidates that no other one betters in {what} and "
        f"{name} at once."
    )
    error = figure.standard_error(high.score, high.total)
    if error is not None:
        caption += (
            f" One {what} has a standard error of about {100 * error:.1f} points, so neighbours "
            f"on the line may be equals."
        )
    return Picture(
        name=f"accuracy_{cost}",
        title=f"{capital(what)} against {name}",
        caption=caption,
        label=(
            f"{capital(figure.label)} against {name} of {len(record.whole)} candidates; the front "
            f"runs from {figure.spoken(low.score)} at {text(low.costs[cost])} to "
            f"{figure.spoken(high.score)} at {text(high.costs[cost])}."
        ),
        draw=lambda: _draw(record, cost, front),
    )


def _draw(record: RunRecord, cost: str, front: Sequence[Trial]) -> Any:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    figure = style.new_figure(3.7)
    axes = figure.subplots()
    trials, scale = record.whole, record.figure.scale
    last = max(trial.generation for trial in trials)
    colours = style.STEPS[1:] if last else style.STEPS[3:4]
    dots = axes.scatter(
        [trial.costs[cost] for trial in trials],
        [scale * trial.score for trial in trials],
        s=dot_size(len(trials)),
        c=[trial.generation for trial in trials],
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(_bounds(last, len(colours)), len(colours)),
        linewidths=0,
        rasterized=len(trials) > MANY,
        zorder=2,
    )
    if len(record.minimise) > 1:
        axes.scatter(
            [trial.costs[cost] for trial in record.front],
            [scale * trial.score for trial in record.front],
            s=22,
            facecolors="none",
            edgecolors=style.ORANGE,
            linewidths=0.9,
            label="front of all costs",
            zorder=3,
        )
    axes.step(
        [trial.costs[cost] for trial in front],
        [scale * trial.score for trial in front],
        where="post",
        color=style.ORANGE,
        marker="o",
        markersize=3.2,
        label="front",
        zorder=3,
    )
    if record.best is not None:
        axes.plot(
            record.best.costs[cost],
            scale * record.best.score,
            linestyle="none",
            marker="*",
            markersize=13,
            color=style.GREEN,
            markeredgecolor=style.PAPER,
            label="best" if record.is_searched else "best so far",
            zorder=5,
        )
    largest = record.networks.get("largest")
    if largest is not None and _is_near(largest.get(cost), [t.costs[cost] for t in trials]):
        axes.plot(
            largest[cost],
            scale * largest[f"search_{record.figure.name}"],
            linestyle="none",
            marker="D",
            markersize=6,
            color=style.INK,
            label="largest network",
            zorder=4,
        )
    _budget(axes, record, cost)
    axes.set_xlabel(named(cost).heading)
    axes.set_ylabel(record.figure.axis(f"{record.figure.label}, search split"))
    cost_axis(axes.xaxis, named(cost))
    if last:
        bar = figure.colorbar(dots, ax=axes, location="bottom", aspect=40, pad=0.02, shrink=0.9)
        bar.outline.set_visible(False)
        bar.set_label("generation", color=style.MUTED, fontsize=8.5)
        bar.set_ticks(_centres(last, len(colours)))
        bar.set_ticklabels(_ranges(last, len(colours)))
        bar.ax.tick_params(length=0)
        bar.ax.grid(visible=False)
    legend_outside(figure, axes, "upper")
    return figure


def _is_near(cost: float | None, others: Sequence[float]) -> bool:
    """Whether there is room for a network without pressing the others together."""
    return cost is not None and cost - max(others) <= max(others) - min(others)


def _budget(axes: Any, record: RunRecord, cost: str) -> None:
    """Shade what lies outside of the window."""
    windows = record.constraint.all_windows()
    if cost not in windows:
        return
    left, right = axes.get_xlim()
    low, high = windows[cost]
    label = "outside the budget"
    for start, end in ((left, low), (high, right)):
        if math.isfinite(start) and math.isfinite(end) and start < end:
            axes.axvspan(start, end, color=style.RULE, alpha=0.6, linewidth=0, label=label)
            label = "_"  # once in the legend
    axes.set_xlim(left, right)


def _bounds(last: int, colours: int) -> list[float]:
    count = min(colours, last + 1)
    return [(last + 1) * place / count - 0.5 for place in range(count + 1)]


def _centres(last: int, colours: int) -> list[float]:
    bounds = _bounds(last, colours)
    return [(low + high) / 2 for low, high in itertools.pairwise(bounds)]


def _ranges(last: int, colours: int) -> list[str]:
    """The generations of each colour: `0`, or `0-3`."""
    bounds = _bounds(last, colours)
    names = []
    for low, high in itertools.pairwise(bounds):
        first, final = math.ceil(low), math.ceil(high) - 1
        names.append(str(first) if first == final else f"{first}-{final}")
    return names
