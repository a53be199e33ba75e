"""Classification: one label an image, cross-entropy, and how often the label comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning.tasks.base import Count, Task
from vitsearch.lightning.tasks.batch import check_range, whole_numbers
from vitsearch.reports.words.figure import Figure

TOP_K = (1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification(Task):
    """Images of one class each.

    Attributes:
        num_classes: Of the labels.
        label_smoothing: Share of the target spread over all classes.
        every_k: Whether to count besides top-1 how often the label is among the five best classes.

    Raises:
        ConfigError: There are less than two classes.
    """

    name: ClassVar[str] = "classification"
    mixes: ClassVar[bool] = True
    dense: ClassVar[bool] = False

    num_classes: int
    label_smoothing: float = 0.0
    every_k: bool = False

    def __post_init__(self) -> None:
        """Check the number of classes."""
        if self.num_classes < 2:
            raise ConfigError(f"num_classes={self.num_classes} must be 2 or more")

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Top-1 accuracy, and top-5 where it says anything and every k counts."""
        return tuple(Figure(name=f"top{k}", label=f"top-{k}") for k in self._ks)

    @property
    def counted(self) -> tuple[str, ...]:
        """Right answers."""
        return tuple(f"correct_top{k}" for k in self._ks) if self.every_k else ("correct",)

    @property
    def _ks(self) -> tuple[int, ...]:
        return tuple(k for k in TOP_K if k < self.num_classes and (k == 1 or self.every_k))

    def detailed(self) -> Classification:
        """With top-5."""
        return replace(self, every_k=True)

    def check_targets(self, images: Tensor, targets: Tensor) -> Tensor:
        """Labels (B,) as int64.

        Raises:
            DataError: They are one-hot, or numbers of classes that there are not.
        """
        if targets.ndim != 1:
            hint = ""
            if targets.shape[1:] == (self.num_classes,):
                hint = "; of one-hot labels take labels.argmax(dim=1)"
            raise DataError(
                f"labels have the shape {tuple(targets.shape)}; they must be numbers of classes, "
                f"({len(images)},){hint}"
            )
        labels = whole_numbers(targets, "labels")
        check_range(labels, self.num_classes, "labels")
        return labels

    def groups(self, targets: Tensor) -> Tensor | None:
        """The classes."""
        return targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of logits (B, classes) for labels (B,), or for soft ones (B, classes)."""
        smoothing = 0.0 if targets.is_floating_point() else self.label_smoothing
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def count(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """How often the label is among the k best classes; of equals the first is best."""
        hits = {1: outputs.argmax(dim=1) == targets}
        for k in self._ks[1:]:
            hits[k] = (outputs.topk(k, dim=1).indices == targets[:, None]).any(dim=1)
        return dict(zip(self.counted, (hit.sum() for hit in hits.values()), strict=True))

    def compute(self, counts: Mapping[str, Count], total: int) -> tuple[float, ...]:
        """Shares of the images."""
        return tuple(counts[name] / total for name in self.counted)
