"""Segmentation: a class for every pixel, cross-entropy, and the mean intersection over union.

Outputs are maps on the network's own grid; they are resized bilinearly to the masks before they are
compared. What is counted is the confusion matrix of pixels, in whole numbers, so figures of a split
are those of all its pixels, however they come in batches and on processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.data.masks.base import IGNORED
from vitsearch.errors import ConfigError, DataError
from vitsearch.errors.checks import check_one_of, check_whole
from vitsearch.lightning.tasks.base import Count, Task
from vitsearch.lightning.tasks.batch import whole_numbers
from vitsearch.reports.words.figure import Figure
from vitsearch.supernet.heads import resized

MEANS = ("labelled", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation(Task):
    """Images with a mask (B, H, W) of classes each.

    Attributes:
        num_classes: Of the masks; 0 where the network or the data says it (`for_classes`).
        ignore_index: The label of pixels that are left out.
        mean_over: Which pixels the loss is a mean over. `labelled`: those that are not left out.
            `all`: those, too, as 0, as HR-NAS has it; the loss of a batch is then the mean of the
            losses of its parts, so training does not depend on the number of processes where some
            pixels are left out.
        pixel_accuracy: Whether the share of right pixels is a figure, too.

    Raises:
        ConfigError: A number is out of range, or the ignored label is a class.
    """

    name: ClassVar[str] = "segmentation"
    targets: ClassVar[tuple[str, ...]] = ("mask", "masks", "label", "labels")
    dense: ClassVar[bool] = True

    num_classes: int = 0
    ignore_index: int = IGNORED
    mean_over: str = "labelled"
    pixel_accuracy: bool = False

    def __post_init__(self) -> None:
        """Check every number."""
        if self.num_classes == 1 or self.num_classes < 0:
            raise ConfigError(f"num_classes={self.num_classes} must be 2 or more")
        check_one_of("mean_over", self.mean_over, MEANS)
        check_whole("ignore_index", self.ignore_index)
        if 0 <= self.ignore_index < self.num_classes:
            raise ConfigError(
                f"ignore_index={self.ignore_index} must be none of the classes, 0 to "
                f"{self.num_classes - 1}"
            )

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Mean intersection over union; pixel accuracy besides where it is asked for."""
        own = Figure(name="miou", label="mIoU", share=False)
        right = Figure(name="pixel_accuracy", label="pixel accuracy", share=False)
        return (own, right) if self.pixel_accuracy else (own,)

    @property
    def counted(self) -> tuple[str, ...]:
        """Pixels by true class and by answer."""
        return ("confusion",)

    def for_classes(self, num_classes: int) -> Segmentation:
        """For so many classes."""
        return replace(self, num_classes=num_classes)

    def detailed(self) -> Segmentation:
        """With pixel accuracy."""
        return replace(self, pixel_accuracy=True)

    def check_targets(self, images: Tensor, targets: Tensor) -> Tensor:
        """Masks (B, H, W) as int64.

        Raises:
            DataError: They are no masks of the images' size, or have numbers of no class.
        """
        size = tuple(images.shape[-2:])
        if targets.ndim != 3 or tuple(targets.shape[1:]) != size:
            raise DataError(
                f"masks have the shape {tuple(targets.shape)}; they must be numbers of classes for "
                f"every pixel, {(len(images), *size)}"
            )
        masks = whole_numbers(targets, "masks")
        self._check_range(masks)
        return masks

    def _check_range(self, masks: Tensor) -> None:
        """As of labels: on an accelerator a look at values would wait."""
        if masks.device.type != "cpu" or not masks.numel() or not self.num_classes:
            return
        wrong = masks[(masks != self.ignore_index) & ((masks < 0) | (masks >= self.num_classes))]
        if wrong.numel():
            raise DataError(
                f"masks have the label {int(wrong[0])}; legal are 0 to {self.num_classes - 1} "
                f"(num_classes={self.num_classes}), and {self.ignore_index} for pixels that are "
                f"left out"
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of outputs (B, classes, h, w) for masks (B, H, W).

        The mean over pixels, see `mean_over`; 0 where all are left out.
        """
        said = self._on_masks(outputs, targets)
        total = F.cross_entropy(said, targets, ignore_index=self.ignore_index, reduction="sum")
        if self.mean_over == "all":
            return total / targets.numel()
        return total / (targets != self.ignore_index).sum().clamp(min=1)

    def count(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """(classes, classes): pixels of a true class, by row, taken for a class, by column.

        Of equal outputs the first class counts.
        """
        classes = outputs.shape[1]
        said = self._on_masks(outputs, targets).argmax(dim=1)
        counted = targets != self.ignore_index
        pairs = targets[counted] * classes + said[counted]
        matrix = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        return {"confusion": matrix}

    def compute(self, counts: Mapping[str, Count], total: int) -> tuple[float, ...]:
        """Over the classes that occur in masks or answers; 0 where no pixel counts."""
        matrix = counts["confusion"]
        ious = [iou for iou in class_ious(matrix) if iou is not None]
        mean = sum(ious) / len(ious) if ious else 0.0
        right, pixels = sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix))
        accuracy = right / pixels if pixels else 0.0
        return (mean, accuracy) if self.pixel_accuracy else (mean,)

    def _on_masks(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim != 4:
            raise ConfigError(
                f"the network answers with the shape {tuple(outputs.shape)}; segmentation needs a "
                f"map, (batch, classes, rows, columns): take space/head=dense"
            )
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        return resized(outputs, targets.shape[-2:])


def class_ious(confusion: list[list[int]]) -> list[float | None]:
    """Intersection over union of each class; `None` for one that no mask and no answer has.

    Args:
        confusion: As `Segmentation.count` has it, added up over a split.
    """
    said = [sum(column) for column in zip(*confusion, strict=True)]
    unions = [sum(row) + said[i] - row[i] for i, row in enumerate(confusion)]
    return [row[i] / unions[i] if unions[i] else None for i, row in enumerate(confusion)]
