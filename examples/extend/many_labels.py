"""A task: images with any number of labels each, scored by the Jaccard index of the classes."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vitsearch.errors import DataError
from vitsearch.lightning.tasks import Figure, Task


class ManyLabels(Task):
    name = "many labels"
    targets = ("tags",)  # the key in batches that are dictionaries
    # Larger is better. It is no share of the images, so reports give no standard error.
    figures = (Figure(name="jaccard", label="Jaccard index", in_percent=False, share=False),)
    counted = ("both", "either")

    def check_targets(self, images: Tensor, targets: Tensor) -> Tensor:
        if targets.ndim != 2:
            raise DataError(f"tags have the shape {tuple(targets.shape)}, not (images, classes)")
        return targets.float()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets)

    def count(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        said, true = outputs > 0, targets > 0
        return {"both": (said & true).sum(0), "either": (said | true).sum(0)}  # (classes,) each

    def compute(self, counts: Mapping[str, Any], total: int) -> tuple[float, ...]:
        pairs = list(zip(counts["both"], counts["either"], strict=True))
        return (sum(both / max(either, 1) for both, either in pairs) / len(pairs),)
