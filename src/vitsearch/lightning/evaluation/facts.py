"""The figures of an evaluation, as plain data: `evaluation.json`, the tables and the pictures.

Counts are exact integers; rates follow from them. The metrics are those of torchmetrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_confusion_matrix,
)

from vitsearch.lightning.evaluation.predictions import Predictions

TOP = 5


def accuracy_facts(predictions: Predictions, class_names: Sequence[str]) -> dict[str, Any]:
    """Top-1, top-5, means over the classes, loss, and every class by itself.

    Args:
        predictions: Of the whole split.
        class_names: In the order of the labels.

    Returns:
        `top1`, `top5` (`None` where there are no more than five classes), each with `correct`,
        `accuracy` and `standard_error`; `mean_class_accuracy` over the classes that have images;
        `cross_entropy` in nats; `classes` and `confusions`.
    """
    matrix = confusion_matrix(predictions, len(class_names))
    classes = class_facts(matrix, class_names)
    seen = [one["accuracy"] for one in classes if one["accuracy"] is not None]
    return {
        "images": len(predictions),
        "top1": _rate(predictions.num_correct(), len(predictions)),
        "top5": _rate(predictions.num_correct(TOP), len(predictions))
        if len(class_names) > TOP
        else None,
        "mean_class_accuracy": sum(seen) / len(seen),
        "cross_entropy": float(predictions.losses.mean()),
        "classes": classes,
        "confusions": confusion_facts(matrix, class_names),
    }


def confusion_matrix(predictions: Predictions, num_classes: int) -> np.ndarray[Any, Any]:
    """(classes, classes) int64: images of a true class, by row, taken for a class, by column."""
    found = multiclass_confusion_matrix(predictions.predicted, predictions.labels, num_classes)
    matrix: np.ndarray[Any, Any] = found.numpy()
    return matrix


def class_facts(matrix: np.ndarray[Any, Any], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Every class: its images, how many are recognised, how often it is named in vain.

    Args:
        matrix: See `confusion_matrix`.
        class_names: In the order of the labels.

    Returns:
        A dictionary a class; `accuracy` (recall) is `None` without images, `precision` where the
        class is never predicted.
    """
    correct, images, named = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return [
        {
            "index": index,
            "name": name,
            "images": int(images[index]),
            "correct": int(correct[index]),
            "accuracy": _ratio(int(correct[index]), int(images[index])),
            "predicted": int(named[index]),
            "precision": _ratio(int(correct[index]), int(named[index])),
        }
        for index, name in enumerate(class_names)
    ]


def confusion_facts(
    matrix: np.ndarray[Any, Any], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Every pair of classes of which one was taken for the other, the most frequent first.

    Names may occur twice, as in ImageNet, so classes also have their index.
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    return [
        {
            "true": class_names[rows[at]],
            "predicted": class_names[columns[at]],
            "true_index": int(rows[at]),
            "predicted_index": int(columns[at]),
            "count": int(wrong[rows[at], columns[at]]),
        }
        for at in order
    ]


def calibration_facts(predictions: Predictions, num_bins: int) -> dict[str, Any]:
    """How far confidence can be taken at its word.

    Source: On Calibration of Modern Neural Networks (ICML 2017), section 2.

    Args:
        predictions: Of the whole split.
        num_bins: Equal ranges of confidence.

    Returns:
        `error`: the expected calibration error, in [0, 1]; `mean_confidence`; `bins` with the
        range, the number of images, and of these the accuracy and the mean confidence (`None` where
        there is no image).
    """
    # torchmetrics gives a confidence of exactly 1 a bin of its own, beyond the last one.
    below_1 = torch.tensor(np.nextafter(1.0, 0.0), dtype=torch.float64)
    confidences = predictions.confidences.minimum(below_1)
    correct = predictions.predicted == predictions.labels
    error = binary_calibration_error(confidences, correct.long(), n_bins=num_bins, norm="l1")
    edges = np.linspace(0, 1, num_bins + 1)
    counts, sums, hits = (
        np.histogram(confidences.numpy(), edges, weights=weights)[0]
        for weights in (None, confidences.numpy(), correct.double().numpy())
    )
    return {
        "error": float(error),
        "mean_confidence": float(predictions.confidences.mean()),
        "bins": [
            {
                "low": float(low),
                "high": float(high),
                "images": int(count),
                "accuracy": float(hit / count) if count else None,
                "confidence": float(total / count) if count else None,
            }
            for low, high, count, total, hit in zip(
                edges[:-1], edges[1:], counts, sums, hits, strict=True
            )
        ],
    }


def _rate(correct: int, total: int) -> dict[str, Any]:
    """An accuracy with the standard error of a share of independent images."""
    accuracy = correct / total
    error = math.sqrt(accuracy * (1 - accuracy) / total)
    return {"correct": correct, "accuracy": accuracy, "standard_error": error}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
