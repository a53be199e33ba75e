"""The tables and pictures of an evaluation, with few classes and with very many."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from vitsearch.reports.pictures.evaluation import write_evaluation_plots
from vitsearch.reports.terminal.evaluation_table import evaluation_panel, evaluation_tables


def facts_of(num_classes: int) -> dict[str, Any]:
    """Ten images a class, of which the next class takes two; every third class has three wrong."""
    classes, confusions = [], []
    for index in range(num_classes):
        wrong = 3 if index % 3 == 0 else 2
        classes.append(
            {
                "index": index,
                "name": f"class {index} of a rather long name",
                "images": 10,
                "correct": 10 - wrong,
                "accuracy": 1 - wrong / 10,
                "predicted": 10,
                "precision": None,
            }
        )
        other = (index + 1) % num_classes
        names = {"true": f"class {index}", "predicted": f"class {other}"}
        indices = {"true_index": index, "predicted_index": other}
        confusions.append({**names, **indices, "count": wrong})
    confusions.sort(key=lambda pair: -pair["count"])
    correct = sum(one["correct"] for one in classes)
    rate = {"correct": correct, "accuracy": correct / 10 / num_classes, "standard_error": 0.01}
    return {
        "model": {"name": "glit", "digest": "abc", "source": "x", "macs": 1e6, "params": 1e5},
        "data": {
            "name": "ImageFolder",
            "split": "test",
            "images": 10 * num_classes,
            "skipped": 1,
            "num_classes": num_classes,
        },
        "environment": {"processes": 1, "device": "cpu", "precision": "32-true"},
        "images": 10 * num_classes,
        "top1": rate,
        "top5": None,
        "mean_class_accuracy": 0.75,
        "cross_entropy": 1.0,
        "classes": classes,
        "confusions": confusions,
        "calibration": {
            "error": 0.1,
            "mean_confidence": 0.85,
            "bins": [
                {"low": 0.0, "high": 0.5, "images": 0, "accuracy": None, "confidence": None},
                {"low": 0.5, "high": 1.0, "images": 9, "accuracy": 0.75, "confidence": 0.85},
            ],
        },
        "speed": {
            "circumstances": {
                "device": "cpu x",
                "threads": 1,
                "dtype": "float32",
                "compile": False,
                "repeats": 10,
                "warmup": 3,
            },
            "batches": [
                {"batch_size": 4, "latency_ms": 2.0, "images_per_second": 2e3, "memory_mb": None}
            ],
        },
    }


def shown(facts: dict[str, Any]) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    for part in (evaluation_panel(facts), *evaluation_tables(facts)):
        console.print(part)
    return console.export_text()


def test_tables_of_few_and_of_many_classes() -> None:
    few = shown(facts_of(3))
    assert "30 images of 3 classes, 1 more cannot be read" in few
    assert "class 2 of a rather long name" in few
    assert "overconfident by" in few
    assert "2,000" in few
    many = shown(facts_of(30))
    assert "the 10 worst of 30 classes" in many
    assert many.count("rather long name") == 10
    assert "class 1 of" not in many  # it is one of the better ones


@pytest.mark.parametrize("num_classes", [2, 45, 450])
def test_pictures(num_classes: int, tmp_path: Path) -> None:
    files = write_evaluation_plots(facts_of(num_classes), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.png", "confusion.png"]
    for file in files:
        with Image.open(file) as image:
            assert min(image.size) >= 600
            assert max(image.size) < 3000
            assert len(image.convert("L").getcolors()) > 20  # something is drawn
