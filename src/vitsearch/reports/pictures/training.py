"""The curves of a training: losses and scores as metrics.csv has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.base import Picture
from vitsearch.reports.words.figure import TOP1, Figure

Curve = tuple[list[float], list[float]]


def training_picture(record: RunRecord) -> Picture | None:
    """The picture of one training; `None` without metrics of one."""
    figure = record.figure
    losses, scores = curves_of(record.metrics, figure)
    if not losses and not scores:
        return None
    main = losses.get("loss") or next(iter({**losses, **scores}.values()))
    return Picture(
        name="training",
        title="Training",
        caption=(
            f"As logged in metrics.csv. {'Accuracies' if figure == TOP1 else 'Scores'} are of "
            f"weights shared by all architectures, on the search split; smallest, largest and "
            f"random are three fixed architectures."
            if any(name in scores for name in ("smallest", "largest", "random"))
            else "As logged in metrics.csv."
        ),
        label=(
            f"Curves of {', '.join([*losses, *scores])} over "
            f"{len(main[0])} points; the first of them goes from {main[1][0]:.3g} to "
            f"{main[1][-1]:.3g}."
        ),
        draw=lambda: _draw(losses, scores, figure),
    )


def curves_of(
    rows: Sequence[Mapping[str, float]], figure: Figure = TOP1
) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Losses and scores (shares in percent) over epochs, those finished, by short names."""
    losses: dict[str, Curve] = {}
    scores: dict[str, Curve] = {}
    columns = sorted({name for row in rows for name in row})
    for column in columns:
        split, slash, name = column.partition("/")
        if not slash or split not in ("train", "val"):
            continue
        is_score = figure.name in name or "acc" in name
        points = [
            (row.get("epoch", place) + 1, row[column])
            for place, row in enumerate(rows)
            if column in row
        ]
        x, y = [point[0] for point in points], [point[1] for point in points]
        if is_score:
            short = name.removeprefix(figure.name).lstrip("_") or figure.label
            short = short if split == "val" else f"{short} (training)"
            scores[short] = (x, [figure.scale * value for value in y])
        elif "loss" in name or split == "train":
            losses[name if split == "train" else f"{name} (validation)"] = (x, y)
    if len(losses) == 2 and "loss" in losses:
        others = [name for name in losses if name != "loss"]
        if losses[others[0]] == losses["loss"]:  # one term is the whole loss
            del losses[others[0]]
    return losses, scores


def _draw(losses: Mapping[str, Curve], scores: Mapping[str, Curve], figure: Figure) -> Any:
    shown = figure.axis(f"{figure.label}, search split")
    panels = [(curves, label) for curves, label in ((losses, "loss"), (scores, shown)) if curves]
    page = style.new_figure(2.4 * len(panels))
    rows = page.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (curves, label) in zip(rows, panels, strict=True):
        for place, (name, (x, y)) in enumerate(curves.items()):
            axes.plot(
                x,
                y,
                color=style.SERIES[place % len(style.SERIES)],
                linestyle=style.DASHES[place // len(style.SERIES) % len(style.DASHES)],
                marker="o" if len(x) < 40 else "",
                markersize=3,
                label=name,
            )
        axes.set_ylabel(label)
        if len(curves) > 1:
            axes.legend(loc="best")
    rows[-1].set_xlabel("epochs")
    from matplotlib.ticker import MaxNLocator

    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return page
