"""The evaluation of a network that says the class of every pixel.

Every process counts the pixels of a part of the images, in whole numbers; the first one computes
the figures, shows some masks beside the true ones, and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import track
from torch import Tensor

from vitsearch.data import SearchDataModule
from vitsearch.data.base import Part, Split
from vitsearch.errors import CheckpointError, DataError
from vitsearch.lightning.evaluation.facts import confusion_facts
from vitsearch.lightning.evaluation.run import (
    CONFUSION_FILE,
    EVALUATION_FILE,
    SPLITS,
    EvaluationSettings,
    as_csv,
    circumstances,
    class_names_of,
    speed_of,
)
from vitsearch.lightning.scoring.answers import count_answers, tally_of_all
from vitsearch.lightning.tasks import Tally
from vitsearch.lightning.tasks.segmentation import Segmentation, class_ious
from vitsearch.runs.files import write_json, write_text
from vitsearch.runs.formats import with_format
from vitsearch.supernet.heads import resized
from vitsearch.supernet.storage.given import GivenModel

NUM_EXAMPLES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskExample:
    """An image with its mask and the network's.

    Attributes:
        name: Of the image.
        image: (H, W, 3) uint8.
        truth: (H, W) classes, and the label of pixels that are left out.
        said: (H, W) classes.
    """

    name: str
    image: np.ndarray[Any, Any]
    truth: np.ndarray[Any, Any]
    said: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskEvaluation:
    """What was found out.

    Attributes:
        facts: The contents of `evaluation.json`.
        confusion: Pixels of a true class, by row, taken for a class, by column.
        examples: Some images, evenly over the split.
        class_names: In the order of the labels.
    """

    facts: dict[str, Any]
    confusion: list[list[int]]
    examples: Sequence[MaskExample]
    class_names: Sequence[str]

    def write(self, folder: Path) -> list[Path]:
        """Write all files but the pictures; returns them."""
        write_json(folder / EVALUATION_FILE, with_format(self.facts))
        write_text(folder / CONFUSION_FILE, as_csv(self._matrix_rows()))
        return [folder / name for name in (EVALUATION_FILE, CONFUSION_FILE)]

    def _matrix_rows(self) -> Iterator[Sequence[object]]:
        yield ("true / predicted", *self.class_names)
        for name, row in zip(self.class_names, self.confusion, strict=True):
            yield (name, *row)


def evaluate_masks(
    given: GivenModel,
    datamodule: SearchDataModule,
    fabric: Fabric,
    settings: EvaluationSettings,
    task: Segmentation,
    *,
    console: Console | None = None,
) -> MaskEvaluation:
    """Count the pixels of a split, compute everything; all processes must ask.

    Args:
        given: The network; it is moved to the device.
        datamodule: Set up.
        fabric: Launched.
        settings: What to evaluate.
        task: How pixels are counted.
        console: Where to show progress; nowhere by default.

    Raises:
        CheckpointError: The network's answers are not finite.
        DataError: There is no image.
    """
    task = task.for_classes(given.network.num_classes).detailed()
    precision = fabric.strategy.precision
    network = precision.convert_module(given.network.to(fabric.device)).eval()

    def run(images: Tensor) -> Tensor:
        with precision.forward_context():
            said: Tensor = network(precision.convert_input(images.to(fabric.device)))
        if not torch.isfinite(said).all():
            raise CheckpointError(
                "the network's answers are not finite: its weights are damaged, or "
                "trainer.precision is too low for them"
            )
        return said

    own: Tally | None = None
    splits = SPLITS[settings.split]
    for split in splits:
        batches: Iterable[Any] = datamodule.evaluation_dataloader(split, shard=True)
        if console is not None:
            batches = track(batches, f"{split} split", console=console, transient=True)
        ready = (task.prepare(batch, given.network.space) for batch in batches)
        found = count_answers(task, run, ready, convert=lambda images: images)
        own = found if own is None or found is None else own + found
    tally = tally_of_all(own)
    if tally is None:
        raise DataError("there is no image to evaluate the network on")
    score, names = task.score(tally), class_names_of(given, datamodule)
    confusion: list[list[int]] = score.counts["confusion"]
    facts = {
        **circumstances(given, datamodule, fabric, settings.split, images=score.total),
        "task": task.name,
        "images": score.total,
        "pixels": sum(map(sum, confusion)),
        **score.figures,
        **mask_facts(confusion, names),
        "speed": speed_of(given, fabric, settings),
    }
    examples = () if console is None else _examples(run, datamodule, splits[-1])
    return MaskEvaluation(facts=facts, confusion=confusion, examples=examples, class_names=names)


def mask_facts(confusion: list[list[int]], class_names: Sequence[str]) -> dict[str, Any]:
    """Every class by itself, and which ones are taken for which.

    Args:
        confusion: Pixels of a true class, by row, taken for a class, by column.
        class_names: In the order of the labels.

    Returns:
        `classes`: for each its pixels, `iou`, `accuracy` (recall) and `precision`, `None` where
        they say nothing; `mean_class_accuracy` over the classes that occur; `confusions`.
    """
    matrix = np.array(confusion, dtype=np.int64)
    right, true, said = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    classes = [
        {
            "index": index,
            "name": name,
            "pixels": int(true[index]),
            "correct": int(right[index]),
            "predicted": int(said[index]),
            "iou": iou,
            "accuracy": int(right[index]) / int(true[index]) if true[index] else None,
            "precision": int(right[index]) / int(said[index]) if said[index] else None,
        }
        for index, (name, iou) in enumerate(zip(class_names, class_ious(confusion), strict=True))
    ]
    seen = [float(one["accuracy"]) for one in classes if one["accuracy"] is not None]
    return {
        "mean_class_accuracy": sum(seen) / len(seen) if seen else 0.0,
        "classes": classes,
        "confusions": confusion_facts(matrix, class_names),
    }


@torch.inference_mode()
def _examples(
    run: Callable[[Tensor], Tensor], datamodule: SearchDataModule, split: Split
) -> list[MaskExample]:
    """Some images of a split, evenly over it."""
    indices = datamodule.split_indices(split)
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(NUM_EXAMPLES, len(indices))).round())
    places = chosen.astype(np.int64)
    part: Part = "test" if split == "test" else "train"
    dataset: Any = datamodule.make_dataset(part, indices[places], augment=False)
    names = datamodule.sample_ids(split)
    found = []
    for number, place in enumerate(places.tolist()):
        image, mask = dataset[number]
        said = resized(run(image[None]).float(), mask.shape).argmax(dim=1)[0]
        found.append(
            MaskExample(
                name=names[place],
                image=_as_pixels(image, datamodule),
                truth=mask.numpy(),
                said=said.cpu().numpy(),
            )
        )
    return found


def _as_pixels(image: Tensor, datamodule: SearchDataModule) -> np.ndarray[Any, Any]:
    """(C, H, W) as it was normalised to (H, W, 3) uint8."""
    if datamodule.mean is None or datamodule.std is None:
        low, high = image.amin(), image.amax()
        image = (image - low) / (high - low).clamp(min=1e-6)
    else:
        image = image * torch.tensor(datamodule.std).view(-1, 1, 1)
        image = image + torch.tensor(datamodule.mean).view(-1, 1, 1)
    shown = (255 * image.clamp(0, 1)).round().to(torch.uint8).expand(3, -1, -1)
    pixels: np.ndarray[Any, Any] = shown.permute(1, 2, 0).numpy()
    return pixels
