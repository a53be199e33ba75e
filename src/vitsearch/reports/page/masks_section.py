"""An evaluation of masks, as a section of its run's report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitsearch.costs.metrics import percent
from vitsearch.reports.page.page import Image, Part, Section, Table, Text
from vitsearch.reports.pictures.segmentation import MASKS_PLOT
from vitsearch.runs.layout import EVALUATION_FILE

_COLUMNS = {"IoU": "iou", "accuracy": "accuracy", "precision": "precision"}


def masks_section(facts: Mapping[str, Any], folder: Path) -> Section:
    """The figures of the split, every class, and the masks that the evaluation has drawn.

    Args:
        facts: Of `evaluation.json`; see `evaluate_masks`.
        folder: Of the run.
    """
    title = f"Masks of network {facts['model']['digest']}"
    text = (
        f"mIoU {percent(facts['miou'])}, pixel accuracy {percent(facts['pixel_accuracy'])}, on "
        f"{facts['images']:,} images of the {facts['data']['split']} split."
    )
    rows = [
        (
            one["name"],
            f"{one['pixels']:,}",
            *("-" if one[name] is None else percent(one[name]) for name in _COLUMNS.values()),
        )
        for one in facts["classes"]
    ]
    parts: list[Part] = [Text(text=text), Table(headings=("class", "pixels", *_COLUMNS), rows=rows)]
    picture = folder / EVALUATION_FILE.parent / f"{MASKS_PLOT}.png"
    if picture.is_file():
        label = "Images, their true masks, and the masks that the network gives."
        parts.insert(1, Image.of(picture, label))
    return Section(title=title, parts=parts)
