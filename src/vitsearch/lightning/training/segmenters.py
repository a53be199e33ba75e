"""The LightningModules that train networks to say the class of every pixel.

They are those of classifiers with another task, so objectives, optimisers, schedules, searches and
callbacks are the same. A space whose head is a classifier gets a dense head in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitsearch.lightning.tasks import Segmentation, Task
from vitsearch.lightning.training.module import TrainingModule
from vitsearch.lightning.training.network_module import Classifier
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.spaces.parts.heads.dense import with_dense_head


class _OfPixels(TrainingModule):
    """What both have in place of a classifier's."""

    @staticmethod
    def space_config(config: Mapping[str, Any]) -> dict[str, Any]:
        """The same space with a head `dense` where it has a classifier."""
        return with_dense_head(config)

    def default_task(self, num_classes: int, label_smoothing: float) -> Task:
        """Segmentation, whose labels are not smoothed."""
        return Segmentation(num_classes=num_classes)


class SearchableSegmenter(_OfPixels, SearchableClassifier):
    """Weight-sharing training of all architectures of a space on images with masks.

    It takes what `SearchableClassifier` takes. Masks are (B, H, W) with numbers of classes; pixels
    of 255 are left out, or of what `task` names.
    """


class Segmenter(_OfPixels, Classifier):
    """Trains one `VisionTransformer` with a dense head on images with masks.

    It takes what `Classifier` takes.
    """
