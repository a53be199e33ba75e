"""Fidelity: how much of the full network's features a smaller one keeps, without any labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.lightning.tasks.base import Count, Task
from vitsearch.lightning.tasks.batch import Batch, check_images, read_images
from vitsearch.reports.words.figure import Figure
from vitsearch.spaces import SearchSpace

_STEPS = 10_000  # of a cosine between -1 and 1, so that sums are whole numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFidelity(Task):
    """The mean cosine of a network's features with those of the full network.

    Attributes:
        features_of: From images (B, C, H, W) to the full network's features (B, D), on the device
            of the images.
    """

    name: ClassVar[str] = "fidelity"

    features_of: Callable[[Tensor], Tensor]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The cosine; 1 for the full network itself."""
        return (Figure(name="fidelity", label="fidelity", in_percent=False, share=False),)

    @property
    def counted(self) -> tuple[str, ...]:
        """Cosines above -1, in steps of 0.0002, summed."""
        return ("agreement",)

    def identity(self, batch: Batch) -> Tensor:
        """The images: references are a network's answers, whose last bits may differ."""
        return batch.images

    def prepare(self, batch: Any, space: SearchSpace | None = None) -> Batch:
        """Images, with the full network's features as targets; labels are not looked at."""
        images = check_images(read_images(batch), space)
        with torch.inference_mode():
            return Batch(images, self.features_of(images))

    def check_targets(self, images: Tensor, targets: Tensor) -> Tensor:
        """Features (B, D) as they are."""
        return targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 - cosine."""
        return (1 - F.cosine_similarity(outputs, targets, dim=-1)).mean()

    def count(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """(1 + cosine) / 2 of each image in whole steps, summed."""
        cosines = F.cosine_similarity(outputs.float(), targets.float(), dim=-1).clamp(-1, 1)
        return {"agreement": ((1 + cosines) * (_STEPS / 2)).round().long().sum()}

    def compute(self, counts: Mapping[str, Count], total: int) -> tuple[float, ...]:
        """The mean cosine."""
        return (2 * counts["agreement"] / (_STEPS * total) - 1,)
