"""What given architectures became, against MACs: an arrow for each."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from vitsearch.costs.metrics import MACS
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.facts.transformed import Transformed
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.base import Picture, cost_axis, dot_size, legend_outside
from vitsearch.reports.words.figure import capital


def transforming_picture(record: RunRecord, found: Sequence[Transformed]) -> Picture:
    """The picture of a transformation."""
    figure = record.figure
    better = [one for one in found if one.gain > 0]
    gain = fmean(one.gain for one in found)
    return Picture(
        name="transforming",
        title="From the given architectures",
        caption=(
            f"{capital(figure.noun)} on {record.num_images:,} images of the search split. Arrows "
            f"lead from what was given to what it became; dots are all candidates that were "
            f"scored. The best of many is a little lucky: the test split says how much is true."
        ),
        label=(
            f"{capital(figure.label)} against MACs before and after; {len(better)} of {len(found)} "
            f"architectures became better, by {figure.difference(gain)} on average over all."
        ),
        draw=lambda: _draw(record, found),
    )


def _draw(record: RunRecord, found: Sequence[Transformed]) -> Any:
    figure = style.new_figure(3.9)
    axes = figure.subplots()
    scale = record.figure.scale
    axes.scatter(
        [trial.costs["macs"] for trial in record.whole],
        [scale * trial.score for trial in record.whole],
        s=dot_size(len(record.whole)),
        c=style.STEPS[1],
        linewidths=0,
        zorder=2,
    )
    for one in found:
        if one.gain > 0:
            axes.annotate(
                "",
                xy=(one.after.costs["macs"], scale * one.after.search),
                xytext=(one.before.costs["macs"], scale * one.before.search),
                arrowprops={"arrowstyle": "->", "color": style.MUTED, "linewidth": 1.0},
                zorder=2.5,
            )
    for ends, colour, marker, label in (
        ([one.before for one in found], style.INK, "D", "given"),
        ([one.after for one in found if one.gain > 0], style.GREEN, "*", "found"),
    ):
        axes.plot(
            [end.costs["macs"] for end in ends],
            [scale * end.search for end in ends],
            linestyle="none",
            marker=marker,
            markersize=9 if marker == "*" else 4.5,
            color=colour,
            label=label,
            zorder=3,
        )
    axes.set_xlabel(MACS.heading)
    axes.set_ylabel(record.figure.axis(f"{record.figure.label}, search split"))
    cost_axis(axes.xaxis, MACS)
    legend_outside(figure, axes, "upper")
    return figure
