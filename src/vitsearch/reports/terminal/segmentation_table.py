"""The figures of an evaluation of masks for a terminal: every class, speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from vitsearch.costs.metrics import percent
from vitsearch.reports.terminal.evaluation_table import MOST_CLASSES, speed_table

_SHOWN_PAIRS = 3


def mask_tables(facts: Mapping[str, Any]) -> Iterator[Table]:
    """The tables, in the order in which they are read (see `evaluate_masks`)."""
    yield _figures(facts)
    yield _classes(facts["classes"], facts["confusions"])
    if facts["speed"] is not None:
        yield speed_table(facts["speed"])


def _figures(facts: Mapping[str, Any]) -> Table:
    """Those of the whole split."""
    table = Table(title=f"{facts['data']['split']} split", show_header=False)
    table.add_column("figure", style="bold")
    table.add_column("value", justify="right")
    table.add_column("in words")
    seen = sum(one["iou"] is not None for one in facts["classes"])
    table.add_row("mIoU", percent(facts["miou"]), f"mean over {seen} classes that occur")
    table.add_row(
        "pixel accuracy", percent(facts["pixel_accuracy"]), f"of {facts['pixels']:,} pixels"
    )
    table.add_row(
        "mean over classes", percent(facts["mean_class_accuracy"]), "every class counts alike"
    )
    return table


def _classes(
    classes: Sequence[Mapping[str, Any]], confusions: Sequence[Mapping[str, Any]]
) -> Table:
    """Every class, or of many those with the lowest IoU, worst first."""
    shown, title = list(classes), "classes"
    if len(classes) > MOST_CLASSES:
        known = [one for one in classes if one["iou"] is not None]
        shown = sorted(known, key=lambda one: float(one["iou"]))[:MOST_CLASSES]
        title = f"the {len(shown)} worst of {len(classes)} classes (all are in evaluation.json)"
    table = Table(title=title)
    table.add_column("class", overflow="fold")
    for heading in ("pixels", "IoU", "accuracy", "precision"):
        table.add_column(heading, justify="right")
    table.add_column("taken for", overflow="fold")
    for one in shown:
        taken = [pair for pair in confusions if pair["true_index"] == one["index"]][:_SHOWN_PAIRS]
        table.add_row(
            one["name"],
            f"{one['pixels']:,}",
            *("-" if one[n] is None else percent(one[n]) for n in ("iou", "accuracy", "precision")),
            ", ".join(f"{pair['predicted']} {percent(_share(pair, one))}" for pair in taken),
        )
    return table


def _share(pair: Mapping[str, Any], one: Mapping[str, Any]) -> float:
    return float(pair["count"] / one["pixels"])
