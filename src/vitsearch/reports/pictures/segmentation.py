"""An evaluation of masks as pictures: some of them beside the true ones, and IoU by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vitsearch.reports.pictures import style

MASKS_PLOT = "masks"
_MOST_NAMES = 24
_LEFT_OUT = (224, 224, 224)


class Example(Protocol):
    """An image with its mask and the network's; see `MaskExample`."""

    @property
    def image(self) -> np.ndarray[Any, Any]:
        """(H, W, 3) uint8."""

    @property
    def truth(self) -> np.ndarray[Any, Any]:
        """(H, W) classes."""

    @property
    def said(self) -> np.ndarray[Any, Any]:
        """(H, W) classes."""


def write_mask_plots(
    facts: Mapping[str, Any], examples: Sequence[Example], folder: Path
) -> list[Path]:
    """Draw `masks.png` and `iou.png` (see `evaluate_masks` for the facts).

    Returns:
        The files.
    """
    rows = len(examples)
    plots: dict[str, style.Drawing] = {
        MASKS_PLOT: (partial(_draw_masks, examples), (6.4, 1.2 + 1.9 * rows)),
        "iou": (_draw_ious, (6.4, 1.2 + 0.26 * len(facts["classes"]))),
    }
    return style.write_plots(plots, facts, folder)


def class_colours(count: int) -> np.ndarray[Any, Any]:
    """(count, 3) uint8, one colour a class, as Pascal VOC numbers them; class 0 is black."""
    colours = np.zeros((count, 3), dtype=np.uint8)
    numbers = np.arange(count)
    for shift in range(7, -1, -1):
        for channel in range(3):
            colours[:, channel] |= (((numbers >> channel) & 1) << shift).astype(np.uint8)
        numbers = numbers >> 3
    return colours


def coloured(mask: np.ndarray[Any, Any], colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(H, W) classes to (H, W, 3); pixels of no class are grey."""
    known = (mask >= 0) & (mask < len(colours))
    found = np.full((*mask.shape, 3), _LEFT_OUT, dtype=np.uint8)
    found[known] = colours[mask[known]]
    return found


def _draw_masks(examples: Sequence[Example], figure: Any, facts: Mapping[str, Any]) -> None:
    """A row an image: the image, the true mask, the network's."""
    from matplotlib.patches import Patch

    classes = facts["classes"]
    colours = class_colours(len(classes))
    axes = figure.subplots(len(examples), 3, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        shown = (
            example.image,
            coloured(example.truth, colours),
            coloured(example.said, colours),
        )
        for axis, pixels in zip(row, shown, strict=True):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_axis_off()
    for axis, title in zip(axes[0], ("image", "truth", "network"), strict=True):
        axis.set_title(title, fontsize="medium", color=style.INK)
    there = {int(n) for one in examples for mask in (one.truth, one.said) for n in np.unique(mask)}
    named = [one for one in classes if one["index"] in there][:_MOST_NAMES]
    patches = [
        Patch(facecolor=colours[one["index"]] / 255, edgecolor=style.RULE, label=one["name"])
        for one in named
    ]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=4, fontsize="small", frameon=False
    )


def _draw_ious(figure: Any, facts: Mapping[str, Any]) -> None:
    """A bar a class, the first on top."""
    axis = figure.subplots()
    classes = [one for one in facts["classes"] if one["iou"] is not None][::-1]
    values = [100 * one["iou"] for one in classes]
    axis.barh(range(len(classes)), values, color=style.BLUE)
    axis.set_yticks(range(len(classes)), [one["name"] for one in classes], fontsize="small")
    axis.axvline(100 * facts["miou"], color=style.ORANGE, linewidth=1)
    axis.set_xlim(0, 100)
    axis.set_xlabel("IoU (%)")
    axis.set_title(
        f"mIoU {100 * facts['miou']:.1f} % of {facts['images']} images "
        f"({facts['data']['split']} split)",
        loc="left",
        color=style.INK,
    )
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
