"""The evaluation of a finished network: predictions, figures, speed, and the files that say so.

Every process predicts a part of the images; the first one computes the figures and writes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import track

from vitsearch.costs import MeasureSettings
from vitsearch.data import SearchDataModule
from vitsearch.data.base import Split
from vitsearch.errors.checks import check_one_of, check_whole
from vitsearch.lightning.evaluation.facts import (
    accuracy_facts,
    calibration_facts,
    confusion_matrix,
)
from vitsearch.lightning.evaluation.predictions import (
    Predictions,
    gather_predictions,
    joined,
    predict,
)
from vitsearch.lightning.evaluation.speed import speed_facts
from vitsearch.runs import layout
from vitsearch.runs.files import write_json, write_text
from vitsearch.runs.formats import with_format
from vitsearch.supernet.storage.given import GivenModel

EVALUATION_FILE = layout.EVALUATION_FILE.name
PREDICTIONS_FILE = "predictions.csv"
CONFUSION_FILE = "confusion.csv"
SPLITS: dict[str, tuple[Split, ...]] = {
    "test": ("test",),
    "search": ("search",),
    "train": ("train",),
    "all": ("train", "search", "test"),
}
"""What can be evaluated: a split, or `all` images, for data that the network has never seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What to evaluate, and how.

    Attributes:
        split: One of `SPLITS`.
        calibration_bins: Equal ranges of confidence.
        speed: How to measure speed, for each batch size; nothing is measured without.
        memory: Whether to measure peak memory, too.

    Raises:
        ConfigError: A setting is out of range.
    """

    split: str = "test"
    calibration_bins: int = 15
    speed: Sequence[MeasureSettings] = field(default_factory=tuple)
    memory: bool = False

    def __post_init__(self) -> None:
        """Check every setting."""
        check_one_of("split", self.split, list(SPLITS))
        check_whole("calibration_bins", self.calibration_bins, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was found out.

    Attributes:
        facts: The contents of `evaluation.json`.
        predictions: Of every image.
        image_ids: A name for each image that `predictions.positions` counts.
        class_names: In the order of the labels.
    """

    facts: dict[str, Any]
    predictions: Predictions
    image_ids: Sequence[str]
    class_names: Sequence[str]

    def write(self, folder: Path) -> list[Path]:
        """Write all files but the pictures; returns them."""
        write_json(folder / EVALUATION_FILE, with_format(self.facts))
        write_text(folder / CONFUSION_FILE, as_csv(self._matrix_rows()))
        write_text(folder / PREDICTIONS_FILE, as_csv(self._prediction_rows()))
        return [folder / name for name in (EVALUATION_FILE, CONFUSION_FILE, PREDICTIONS_FILE)]

    def _matrix_rows(self) -> Iterator[Sequence[object]]:
        yield ("true / predicted", *self.class_names)
        matrix = confusion_matrix(self.predictions, len(self.class_names)).tolist()
        for name, row in zip(self.class_names, matrix, strict=True):
            yield (name, *row)

    def _prediction_rows(self) -> Iterator[Sequence[object]]:
        yield ("image", "true", "predicted", "confidence", "rank_of_true")
        found, names = self.predictions, self.class_names
        columns = (found.positions, found.labels, found.predicted, found.confidences, found.ranks)
        for at, label, said, sure, rank in zip(*(c.tolist() for c in columns), strict=True):
            yield (self.image_ids[at], names[label], names[said], f"{sure:.6f}", rank + 1)


def evaluate(
    given: GivenModel,
    datamodule: SearchDataModule,
    fabric: Fabric,
    settings: EvaluationSettings,
    *,
    console: Console | None = None,
) -> Evaluation:
    """Predict a split, compute everything; all processes must ask.

    Args:
        given: The network; it is moved to the device.
        datamodule: Set up.
        fabric: Launched.
        settings: What to evaluate.
        console: Where to show progress; nowhere by default.

    Raises:
        CheckpointError: The network's logits are not finite.
        DataError: There is no image.
    """
    splits = SPLITS[settings.split]
    predictions = joined(
        [
            (gather_predictions(_predict_split(given, datamodule, fabric, split, console)), size)
            for split in splits
            if (size := len(datamodule.split_indices(split)))
        ]
    )
    names = class_names_of(given, datamodule)
    ids = [name for split in splits for name in datamodule.sample_ids(split)]
    facts = {
        **circumstances(given, datamodule, fabric, settings.split, images=len(predictions)),
        **accuracy_facts(predictions, names),
        "calibration": calibration_facts(predictions, settings.calibration_bins),
        "speed": speed_of(given, fabric, settings),
    }
    return Evaluation(facts=facts, predictions=predictions, class_names=names, image_ids=ids)


def circumstances(
    given: GivenModel, datamodule: SearchDataModule, fabric: Fabric, split: str, *, images: int
) -> dict[str, Any]:
    """What is evaluated, on what, where: `model`, `data`, `environment`.

    Args:
        given: The network.
        datamodule: Set up.
        fabric: Launched.
        split: One of `SPLITS`.
        images: How many of its images could be read.
    """
    network = given.network
    listed = sum(len(datamodule.split_indices(part)) for part in SPLITS[split])
    return {
        "model": {
            "name": given.name,
            "source": str(given.source),
            "digest": network.architecture.digest,
            **network.cost().to_dict(),
        },
        "data": {
            "name": type(datamodule).__name__,
            "split": split,
            "images": images,
            "skipped": listed - images,
            "num_classes": len(class_names_of(given, datamodule)),
        },
        "environment": {
            "device": fabric.device.type,
            "processes": fabric.world_size,
            "precision": str(fabric.strategy.precision.precision),
            "torch": torch.__version__,
        },
    }


def speed_of(
    given: GivenModel, fabric: Fabric, settings: EvaluationSettings
) -> dict[str, Any] | None:
    """See `speed_facts`; `None` where nothing is measured."""
    if not settings.speed:
        return None
    return speed_facts(given.network, settings.speed, device=fabric.device, memory=settings.memory)


def class_names_of(given: GivenModel, datamodule: SearchDataModule) -> tuple[str, ...]:
    """The names of the classes: the data's, else the network's, else their numbers."""
    known = datamodule.class_names or given.network.class_names
    return tuple(known or map(str, range(given.network.num_classes)))


def _predict_split(
    given: GivenModel,
    datamodule: SearchDataModule,
    fabric: Fabric,
    split: Split,
    console: Console | None,
) -> Predictions:
    """This process's part of a split."""
    precision = fabric.strategy.precision
    network = precision.convert_module(given.network.to(fabric.device)).eval()
    loader = datamodule.evaluation_dataloader(split, shard=True)
    ids = datamodule.sample_ids(split)

    def positions() -> list[int]:  # files turn out to be unreadable while they are read
        unreadable = datamodule.unreadable_ids()
        return [index for index in loader.sampler if ids[index] not in unreadable]

    batches: Iterable[Any] = loader
    if console is not None:
        batches = track(loader, f"{split} split", console=console, transient=True)
    return predict(network, batches, device=fabric.device, precision=precision, positions=positions)


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
