"""Several runs in one picture: how fast each found its best, and accuracy against MACs of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitsearch.costs import human
from vitsearch.costs.metrics import MACS
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.accuracy_cost import front_by
from vitsearch.reports.pictures.base import MANY, Picture, cost_axis, dot_size
from vitsearch.reports.pictures.progress import best_so_far
from vitsearch.reports.words.figure import capital

_MARKERS = "os^Dv*"


def best_picture(records: Sequence[RunRecord]) -> Picture | None:
    """The best so far of every run; `None` without any."""
    if not records:
        return None
    figure = records[0].figure
    ends = [f"{r.name} {r.figure.number(r.best.score)}" for r in records if r.best]
    unit = " percent" if figure.in_percent else ""
    return Picture(
        name="progress",
        title="Search progress",
        caption=f"The best {figure.noun} so far, over the candidates that each search has scored.",
        label=f"The best so far of {len(records)} runs; they end at {', '.join(ends)}{unit}.",
        draw=lambda: _draw_best(records),
    )


def accuracy_picture(records: Sequence[RunRecord]) -> Picture | None:
    """All candidates and fronts against MACs; `None` without any."""
    if not records:
        return None
    figure = records[0].figure
    ends = [f"{r.name} at {human(r.best.costs['macs'])}" for r in records if r.best]
    return Picture(
        name="accuracy_macs",
        title=f"{capital(figure.noun)} against MACs",
        caption=(
            "Dots are candidates; each line joins those of a run that no other one of it betters."
        ),
        label=(
            f"{capital(figure.label)} against MACs of {len(records)} runs; the best ones: "
            f"{', '.join(ends)} MACs."
        ),
        draw=lambda: _draw_accuracy(records),
    )


def _draw_best(records: Sequence[RunRecord]) -> Any:
    figure = style.new_figure(3.0 + 0.2 * len(records))
    axes = figure.subplots()
    for number, record in enumerate(records):
        best = best_so_far(record)
        axes.step(
            [place for place, _ in best],
            [record.figure.scale * score for _, score in best],
            where="post",
            label=record.name,
            **_line(number),
        )
    axes.set_xlabel("candidates, in the order of scoring")
    axes.set_ylabel(records[0].figure.axis(f"best {records[0].figure.label} so far"))
    _name_runs(figure, axes)
    return figure


def _draw_accuracy(records: Sequence[RunRecord]) -> Any:
    figure = style.new_figure(3.0 + 0.2 * len(records))
    axes = figure.subplots()
    count = sum(len(record.whole) for record in records)
    for number, record in enumerate(records):
        line = _line(number)
        axes.scatter(
            [trial.costs["macs"] for trial in record.whole],
            [record.figure.scale * trial.score for trial in record.whole],
            s=dot_size(count),
            c=line["color"],
            marker=_MARKERS[number % len(_MARKERS)],
            alpha=0.35,
            linewidths=0,
            rasterized=count > MANY,
        )
        front = front_by(record.whole, "macs")
        axes.step(
            [trial.costs["macs"] for trial in front],
            [record.figure.scale * trial.score for trial in front],
            where="post",
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            label=record.name,
            **line,
        )
    axes.set_xlabel(MACS.heading)
    axes.set_ylabel(records[0].figure.axis(f"{records[0].figure.label}, search split"))
    cost_axis(axes.xaxis, MACS)
    _name_runs(figure, axes)
    return figure


def _line(number: int) -> dict[str, Any]:
    colour, rounds = number % len(style.SERIES), number // len(style.SERIES)
    dashes = style.DASHES[(colour + rounds) % len(style.DASHES)]  # no pair comes twice
    return {"color": style.SERIES[colour], "linestyle": dashes}


def _name_runs(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=1, handlelength=3)
