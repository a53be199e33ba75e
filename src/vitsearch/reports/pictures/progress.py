"""How a search went: every candidate in the order of its scoring, the best so far, the spread."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median, quantiles
from typing import Any

from vitsearch.reports.facts.run_record import RunRecord, Trial
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.base import MANY, Picture, dot_size, legend_outside
from vitsearch.reports.words.figure import capital

_ORIGINS = {
    "initial": (style.GREEN, "D"),
    "random": (style.AMBER, "o"),
    "mutation": (style.BLUE, "^"),
    "crossover": (style.PURPLE, "s"),
    "given": (style.GREEN, "D"),
    "transformation": (style.BLUE, "v"),
    "sampler": (style.BLUE, "v"),
}
_MOST_NAMED = 8  # generations whose numbers fit above the picture


def progress_picture(record: RunRecord) -> Picture | None:
    """The picture of one search; `None` without a history."""
    if not record.trials:
        return None
    generations, figure = generations_of(record.trials), record.figure
    best = best_so_far(record)
    assert record.best is not None
    given_up = len(record.trials) - len(record.whole)
    caption = (
        f"Each mark is a candidate, scored on {record.num_images:,} images that training did not "
        f"see. Boxes span the middle half of a generation, their line is its median."
    )
    if given_up:
        caption += f" Crosses: {given_up} candidates given up early, on fewer images."
    return Picture(
        name="progress",
        title="Search progress",
        caption=caption,
        label=(
            f"{capital(figure.label)} of {len(record.trials)} candidates in {len(generations)} "
            f"generations; the best rises from {figure.number(best[0][1])} to "
            f"{figure.spoken(best[-1][1])}."
        ),
        draw=lambda: _draw(record),
    )


def best_so_far(record: RunRecord) -> list[tuple[int, float]]:
    """Number of candidates and best score until then, where it rises, and at the end."""
    points: list[tuple[int, float]] = []
    for trial in record.whole:
        if not points or trial.score > points[-1][1]:
            points.append((trial.number, trial.score))
    if points:
        points.append((len(record.trials), points[-1][1]))
    return points


def generations_of(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The candidates, generation by generation."""
    return [list(group) for _, group in groupby(trials, key=lambda trial: trial.generation)]


def _draw(record: RunRecord) -> Any:
    figure = style.new_figure(3.4)
    axes = figure.subplots()
    generations = generations_of(record.trials)
    scale = record.figure.scale
    for generation in generations:
        _spread(axes, [trial for trial in generation if trial.total == record.num_images], scale)
    size = dot_size(len(record.trials))
    rasterized = len(record.trials) > MANY
    for origin, (colour, marker) in _ORIGINS.items():
        found = [trial for trial in record.whole if trial.origin == origin]
        if found:
            axes.scatter(
                [trial.number for trial in found],
                [scale * trial.score for trial in found],
                s=size,
                c=colour,
                marker=marker,
                linewidths=0,
                alpha=0.85,
                label=origin,
                rasterized=rasterized,
            )
    early = [trial for trial in record.trials if trial.total < record.num_images]
    if early:
        axes.scatter(
            [trial.number for trial in early],
            [scale * trial.score for trial in early],
            s=size,
            c=style.MUTED,
            marker="x",
            linewidths=0.8,
            alpha=0.6,
            label="given up early",
            rasterized=rasterized,
        )
    best = best_so_far(record)
    axes.step(
        [number for number, _ in best],
        [scale * score for _, score in best],
        where="post",
        color=style.GREEN,
        linewidth=2.2,
        label="best so far",
    )
    axes.set_xlabel("candidates, in the order of scoring")
    axes.set_ylabel(record.figure.axis(f"{record.figure.label}, search split"))
    axes.margins(x=0.02)
    axes.grid(visible=False, axis="x")
    _name_generations(axes, generations)
    legend_outside(figure, axes, "lower", dots=len(record.trials))
    return figure


def _spread(axes: Any, generation: Sequence[Trial], scale: int) -> None:
    """The middle half of a generation, and its median."""
    if len(generation) < 2:
        return
    values = [scale * trial.score for trial in generation]
    low, _, high = quantiles(values, n=4, method="inclusive")
    first, last = generation[0].number - 0.5, generation[-1].number + 0.5
    axes.fill_between([first, last], low, high, color=style.RULE, alpha=0.7, linewidth=0)
    axes.plot([first, last], [median(values)] * 2, color=style.INK, linewidth=1.1)


def _name_generations(axes: Any, generations: Sequence[Sequence[Trial]]) -> None:
    if len(generations) < 2:
        return
    every = -(-len(generations) // _MOST_NAMED)
    for place, generation in enumerate(generations):
        if place:
            axes.axvline(generation[0].number - 0.5, color=style.RULE, linewidth=0.8)
        if place % every == 0:
            middle = (generation[0].number + generation[-1].number) / 2
            axes.annotate(
                str(generation[0].generation),
                (middle, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=style.MUTED,
                fontsize=8.5,
            )
    axes.set_title("generation", fontsize=8.5, color=style.MUTED, pad=14, loc="left")
