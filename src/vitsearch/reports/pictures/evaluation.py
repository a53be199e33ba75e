"""The figures of an evaluation as pictures: the confusion matrix, and a reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitsearch.reports.pictures import style

MOST_NAMES = 40
"""With more classes only the pairs that are most often confused have names."""

_MOST_NUMBERS = 15
_MOST_DOTS = 200
_SHOWN_PAIRS = 20
_NAME_WIDTH = 24
_INK, _BLUE, _RED, _GREY = "#1f2933", "#2b6cb0", "#c53030", "#9aa5b1"


def write_evaluation_plots(facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw `confusion.png` and `calibration.png` (see `evaluate` for the facts).

    Returns:
        The files.
    """
    few = len(facts["classes"]) <= MOST_NAMES
    side = 4.5 + 0.26 * len(facts["classes"])
    plots: dict[str, style.Drawing] = {
        "confusion": (_draw_matrix, (side + 1, side)) if few else (_draw_pairs, (12, 6)),
        "calibration": (_draw_calibration, (5.5, 6.5)),
    }
    return style.write_plots(plots, facts, folder)


def _shares(facts: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """(classes, classes): by row, the share of a class's images that is taken for each class."""
    classes = facts["classes"]
    counts = np.zeros((len(classes), len(classes)))
    for one in classes:
        counts[one["index"], one["index"]] = one["correct"]
    for pair in facts["confusions"]:
        counts[pair["true_index"], pair["predicted_index"]] = pair["count"]
    shares: np.ndarray[Any, Any] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _draw_matrix(figure: Any, facts: Mapping[str, Any]) -> None:
    """All classes by name; numbers in the cells where they can be read."""
    axis, shares = figure.subplots(), _shares(facts)
    names = [_short(one["name"]) for one in facts["classes"]]
    _show_shares(figure, axis, shares)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    axis.set_title(_title(facts), loc="left", color=_INK)
    if len(names) > _MOST_NUMBERS:
        return
    axis.set_xlabel("predicted class (numbers: % of a true class)")
    for row, column in zip(*np.nonzero(shares.round(2)), strict=True):
        share = shares[row, column]
        axis.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize="small",
            color="white" if share > 0.35 else _INK,
        )


def _draw_pairs(figure: Any, facts: Mapping[str, Any]) -> None:
    """All classes as dots, and beside them the pairs that are most often confused, by name."""
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _show_shares(figure, left, _shares(facts))
    left.set_title(_title(facts), loc="left", color=_INK)
    pairs: Sequence[Mapping[str, Any]] = facts["confusions"][:_SHOWN_PAIRS][::-1]
    right.barh(range(len(pairs)), [pair["count"] for pair in pairs], color=_BLUE)
    labels = [f"{_short(pair['true'])} → {_short(pair['predicted'])}" for pair in pairs]
    right.set_yticks(range(len(pairs)), labels, fontsize="small")
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set_xlabel("images")
    right.set_ylim(-0.7, len(pairs) - 0.3)
    right.set_title("most often confused (true → predicted)", loc="left", color=_INK)
    _plain(right)
    left.set_box_aspect(1)


def _show_shares(figure: Any, axis: Any, shares: np.ndarray[Any, Any]) -> None:
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    # The square root of a share: a few percent of confusion must show beside 90 on the diagonal.
    cells, last = _pooled(shares), len(shares) - 0.5
    extent = (-0.5, last, last, -0.5)
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    image = axis.imshow(cells, cmap="Blues", norm=norm, extent=extent, interpolation="nearest")
    bar = figure.colorbar(image, ax=axis, shrink=0.7, format=PercentFormatter(1.0))
    bar.set_label("of the images of a class")
    bar.outline.set_visible(False)
    axis.spines[:].set_color(_GREY)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")


def _pooled(shares: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of very many classes the largest share of each square of neighbours: one alone is no dot."""
    side = math.ceil(len(shares) / _MOST_DOTS)
    cells = math.ceil(len(shares) / side)
    padded = np.pad(shares, (0, cells * side - len(shares))).reshape(cells, side, cells, side)
    largest: np.ndarray[Any, Any] = padded.max(axis=(1, 3))
    return largest


def _draw_calibration(figure: Any, facts: Mapping[str, Any]) -> None:
    """Accuracy against confidence, and how many images have which confidence."""
    calibration = facts["calibration"]
    bins = calibration["bins"]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = 1 / len(bins)
    middles = [(one["low"] + one["high"]) / 2 for one in bins]
    filled = [(at, one) for at, one in zip(middles, bins, strict=True) if one["images"]]
    places = [at for at, _ in filled]
    reached = [one["accuracy"] for _, one in filled]
    claimed = [one["confidence"] for _, one in filled]
    upper.bar(places, reached, width * 0.92, color=_BLUE, label="accuracy of these images")
    upper.bar(
        places,
        [said - is_so for said, is_so in zip(claimed, reached, strict=True)],
        width * 0.92,
        bottom=reached,
        color=_RED,
        alpha=0.25,
        hatch="//",
        edgecolor=_RED,
        linewidth=0.5,
        label="gap to their confidence",
    )
    upper.plot((0, 1), (0, 1), "--", color=_INK, linewidth=1, label="as sure as right")
    upper.set_ylim(0, 1)
    upper.set_xlim(0, 1)
    upper.set_ylabel("accuracy")
    upper.legend(loc="upper left", frameon=False, fontsize="small")
    upper.set_title(
        f"calibration error {100 * calibration['error']:.1f} %\n"
        f"mean confidence {100 * calibration['mean_confidence']:.1f} %, "
        f"accuracy {100 * facts['top1']['accuracy']:.1f} %",
        loc="left",
        fontsize="medium",
        color=_INK,
    )
    lower.bar(middles, [one["images"] for one in bins], width * 0.92, color=_GREY)
    lower.set_ylabel("images")
    lower.set_xlabel("confidence: probability of the predicted class")
    for axis in (upper, lower):
        _plain(axis)


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)


def _title(facts: Mapping[str, Any]) -> str:
    return (
        f"top-1 {100 * facts['top1']['accuracy']:.1f} % of {facts['images']} images "
        f"({facts['data']['split']} split)"
    )


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
