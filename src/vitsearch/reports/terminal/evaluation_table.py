"""The figures of an evaluation for a terminal: accuracy, classes, speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.panel import Panel
from rich.table import Table

from vitsearch.costs import human
from vitsearch.costs.metrics import percent
from vitsearch.reports.terminal.panels import facts_panel

MOST_CLASSES = 20
_SHOWN_CLASSES = 10
_SHOWN_PAIRS = 3


def evaluation_panel(facts: Mapping[str, Any]) -> Panel:
    """What was evaluated, on what, where (see `evaluate`)."""
    model, data, where = facts["model"], facts["data"], facts["environment"]
    skipped = f", {data['skipped']} more cannot be read" if data["skipped"] else ""
    rows = {
        "model": f"{model['name']} {model['digest']}",
        "weights": model["source"],
        "MACs": human(model["macs"]),
        "parameters": human(model["params"]),
        "data": f"{data['name']}, {data['split']} split: {data['images']} images of "
        f"{data['num_classes']} classes{skipped}",
        "computed on": f"{where['processes']} x {where['device']}, {where['precision']}",
    }
    return facts_panel(rows, title="vitsearch evaluation")


def evaluation_tables(facts: Mapping[str, Any]) -> Iterator[Table]:
    """The tables, in the order in which they are read (see `evaluate`)."""
    yield accuracy_table(facts)
    yield class_table(facts["classes"], facts["confusions"])
    if facts["speed"] is not None:
        yield speed_table(facts["speed"])


def accuracy_table(facts: Mapping[str, Any]) -> Table:
    """The figures of the whole split."""
    images, calibration = facts["images"], facts["calibration"]
    table = Table(title=f"{facts['data']['split']} split", show_header=False)
    table.add_column("figure", style="bold")
    table.add_column("value", justify="right")
    table.add_column("in words")
    for top in ("top1", "top5"):
        rate = facts[top]
        if rate is not None:
            table.add_row(
                f"top-{top[-1]}",
                percent(rate["accuracy"]),
                f"{rate['correct']} of {images}; standard error "
                f"{100 * rate['standard_error']:.1f} points",
            )
    mean, loss = facts["mean_class_accuracy"], facts["cross_entropy"]
    table.add_row("mean over classes", percent(mean), "every class counts alike")
    table.add_row("cross-entropy", f"{loss:.3f}", "nats an image")
    surplus = calibration["mean_confidence"] - facts["top1"]["accuracy"]
    table.add_row(
        "calibration error",
        percent(calibration["error"]),
        f"{len(calibration['bins'])} bins; {'over' if surplus > 0 else 'under'}confident by "
        f"{100 * abs(surplus):.1f} points on average",
    )
    return table


def class_table(
    classes: Sequence[Mapping[str, Any]], confusions: Sequence[Mapping[str, Any]]
) -> Table:
    """Every class, or of many those with the lowest accuracy, worst first."""
    known = [one for one in classes if one["accuracy"] is not None]
    worst = sorted(known, key=lambda one: float(one["accuracy"]))
    shown = list(classes)
    title = "classes"
    if len(classes) > MOST_CLASSES:
        shown = worst[:_SHOWN_CLASSES]
        title = f"the {len(shown)} worst of {len(classes)} classes (all are in evaluation.json)"
    table = Table(title=title)
    table.add_column("class", overflow="fold")
    for heading in ("images", "accuracy", "precision"):
        table.add_column(heading, justify="right")
    table.add_column("taken for", overflow="fold")
    for one in shown:
        taken = [pair for pair in confusions if pair["true_index"] == one["index"]][:_SHOWN_PAIRS]
        table.add_row(
            one["name"],
            str(one["images"]),
            *(
                "-" if one[name] is None else percent(one[name])
                for name in ("accuracy", "precision")
            ),
            ", ".join(f"{pair['predicted']} {pair['count']}" for pair in taken),
        )
    return table


def speed_table(speed: Mapping[str, Any]) -> Table:
    """Latency, throughput and memory by batch size."""
    there = speed["circumstances"]
    count = there["threads"]
    threads = "" if count is None else f", {count} thread{'s' * (count != 1)}"
    compiled = ", compiled" if there["compile"] else ""
    table = Table(
        title=f"speed on {there['device']}{threads}, {there['dtype']}{compiled}",
        caption=f"medians of {there['repeats']} runs after {there['warmup']} to warm up",
    )
    for heading in ("batch", "latency, ms", "images/s", "peak memory, MB"):
        table.add_column(heading, justify="right")
    for row in speed["batches"]:
        memory = row["memory_mb"]
        table.add_row(
            str(row["batch_size"]),
            f"{row['latency_ms']:.2f}",
            f"{row['images_per_second']:,.0f}",
            "-" if memory is None else f"{memory:.1f}",
        )
    return table
