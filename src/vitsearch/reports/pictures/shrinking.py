"""What networks keep before any training, against MACs: front, chosen ones, uniform cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitsearch.costs import human
from vitsearch.costs.metrics import MACS
from vitsearch.reports.facts.run_record import RunRecord, Trial
from vitsearch.reports.facts.shrunk import ENOUGH, Network, Shrunk
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.accuracy_cost import front_by
from vitsearch.reports.pictures.base import Picture, cost_axis, dot_size, legend_outside
from vitsearch.reports.words.figure import capital


def shrinking_picture(record: RunRecord, found: Shrunk) -> Picture:
    """The picture of a shrinking."""
    figure, front = found.figure, front_by(record.whole, "macs")
    knee = train_below(found, front)
    chosen = ", ".join(
        f"{figure.spoken(one.network.search)} at {human(one.network.macs)}"
        for one in found.networks
    )
    caption = (
        f"{capital(figure.noun)} on {found.num_images:,} images of the search split; nothing was "
        f"trained. The line joins candidates that are repaired from the calibration alone; stars "
        f"are the chosen networks, repaired branch by branch through the cut network, and grey "
        f"diamonds uniform cuts of about the same MACs, repaired alike."
    )
    if knee is not None:
        caption += (
            f" Below {human(knee)} MACs no network that was looked at keeps {ENOUGH:.0%} of the "
            f"full network's {figure.noun}: train there."
        )
    return Picture(
        name="shrinking",
        title=f"{capital(figure.noun)} before any training",
        caption=caption,
        label=(
            f"{capital(figure.label)} before any training against MACs; the full network has "
            f"{figure.spoken(found.full.search)} at {human(found.full.macs)}, the chosen networks "
            f"{chosen or 'none'}."
        ),
        draw=lambda: _draw(record, found, front, knee),
    )


def train_below(found: Shrunk, front: Sequence[Trial]) -> float | None:
    """The MACs below which training is needed, as far as anything was looked at."""
    return found.train_below((trial.costs["macs"], trial.score) for trial in front)


def _draw(record: RunRecord, found: Shrunk, front: Sequence[Trial], knee: float | None) -> Any:
    figure = style.new_figure(3.9)
    axes = figure.subplots()
    scale = found.figure.scale
    axes.scatter(
        [trial.costs["macs"] for trial in record.whole],
        [scale * trial.score for trial in record.whole],
        s=dot_size(len(record.whole)),
        c=style.STEPS[1],
        linewidths=0,
        zorder=2,
    )
    for name, heights, colour, dashes in (
        ("uniform cuts, not repaired", [one.unrepaired for one in found.uniform], style.RULE, "-"),
        ("uniform cuts", [one.repaired for one in found.uniform], style.MUTED, "--"),
    ):
        axes.plot(
            [one.macs for one in found.uniform],
            [scale * height for height in heights],
            color=colour,
            linestyle=dashes,
            marker=".",
            markersize=4,
            linewidth=1.2,
            label=name,
            zorder=2.5,
        )
    axes.step(
        [trial.costs["macs"] for trial in front],
        [scale * trial.score for trial in front],
        where="post",
        color=style.ORANGE,
        marker="o",
        markersize=3.2,
        label="front",
        zorder=3,
    )
    axes.axhline(scale * found.full.search, color=style.INK, linewidth=0.8, linestyle=":", zorder=2)
    uniform = [one.uniform for one in found.networks if one.uniform is not None]
    _marks(axes, uniform, scale, "D", 5.5, style.MUTED, "uniform cuts of the budgets")
    _marks(axes, [found.full], scale, "s", 6, style.INK, "full network")
    chosen = [one.network for one in found.networks]
    _marks(axes, chosen, scale, "*", 13, style.GREEN, "chosen for the budgets")
    if knee is not None:
        left, right = axes.get_xlim()
        axes.axvspan(
            left, knee, color=style.RULE, alpha=0.6, linewidth=0, label="below this, train"
        )
        axes.set_xlim(left, right)
    axes.set_xlabel(MACS.heading)
    axes.set_ylabel(found.figure.axis(f"{found.figure.label}, search split"))
    cost_axis(axes.xaxis, MACS)
    legend_outside(figure, axes, "upper")
    return figure


def _marks(
    axes: Any,
    networks: Sequence[Network],
    scale: int,
    marker: str,
    size: float,
    colour: str,
    label: str,
) -> None:
    axes.plot(
        [network.macs for network in networks],
        [scale * network.search for network in networks],
        linestyle="none",
        marker=marker,
        markersize=size,
        color=colour,
        markeredgecolor=style.PAPER,
        label=label,
        zorder=5,
    )
