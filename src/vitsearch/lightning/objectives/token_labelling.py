"""Token labelling: patches learn what a teacher sees at their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.lightning.objectives.base import (
    PATCHES,
    ImageFacts,
    Objective,
    StepOutputs,
    mean_of_kept,
)
from vitsearch.lightning.objectives.named import find_object
from vitsearch.lightning.objectives.teacher import load_teacher
from vitsearch.spaces.flow import sides

DenseScores = Callable[[Tensor], Tensor]


class TokenLabelling(Objective):
    """The patch head's cross-entropy for a teacher's scores of each location.

    The scores, logits of the images as they are trained on, are resized to the grid of each
    architecture's last stage. A token that patches were merged into learns the mean of their
    scores; patches that a predictor drops learn nothing. With `PatchTokenMixup` beside it, the
    patch head learns both, as the weights say. Source: All Tokens Matter: Token Labeling for
    Training Better Vision Transformers (LV-ViT, NeurIPS 2021), section 3.
    """

    uses = frozenset({PATCHES})
    of_images = True

    def __init__(
        self,
        teacher: Mapping[str, Any] | nn.Module | None = None,
        scores: DenseScores | str | None = None,
        top_k: int | None = None,
    ) -> None:
        """Name the teacher.

        Args:
            teacher: A network with timm's face, or the settings of `load_teacher`.
            scores: Instead of a teacher: a function of training images (B, C, H, W) that returns
                logits (B, classes, h, w), or the dotted name of one.
            top_k: How many classes of a location count; all by default (LV-ViT keeps 5).

        Raises:
            ConfigError: A setting is out of range, or both or none are given.
        """
        if top_k is not None:
            check_whole("top_k", top_k, 1, otherwise="null for all classes")
        self.top_k = top_k
        self._teacher = teacher
        self._scores = find_object(scores, "scores") if isinstance(scores, str) else scores
        self.dense: DenseScores | None = None

    def prepare(self, images: ImageFacts) -> None:
        """Load the teacher.

        Raises:
            ConfigError: There is none, or it does not fit the images or the classes.
        """
        if self._scores is None:
            teacher = load_teacher(self._teacher, images)
            shape = tuple(teacher.probe(images, dense=True).shape)
            self.dense = teacher.dense
        else:
            self.dense = self._scores
            shape = self._probe(self._scores, images)
        if len(shape) != 4 or shape[:2] != (1, images.num_classes):
            raise ConfigError(
                f"its scores of one image have shape {shape}, but must be "
                f"(1, {images.num_classes}, h, w): logits of {images.num_classes} classes"
            )
        if self.top_k is not None and self.top_k > images.num_classes:
            raise ConfigError(f"top_k={self.top_k} is more than {images.num_classes} classes")

    @torch.no_grad()
    def _probe(self, scores: DenseScores, images: ImageFacts) -> tuple[int, ...]:
        if not callable(scores):
            raise ConfigError(f"scores={scores} is no function")
        one = torch.zeros(1, images.in_chans, *sides(images.image_size))
        return tuple(getattr(scores(one), "shape", ()))

    def __call__(self, step: StepOutputs) -> Tensor:
        """Cross-entropy of every patch, architecture by architecture."""
        assert self.dense is not None, "prepare() comes first"
        with torch.no_grad():
            scores = self.dense(step.images)
        labels_of: dict[tuple[int, int], Tensor] = {}
        losses = []
        for index, heads in enumerate(step.heads):
            assert heads.patches is not None
            if heads.grid not in labels_of:
                labels_of[heads.grid] = token_labels(scores, heads.grid, self.top_k)
            labels = step.seen(labels_of[heads.grid], index)
            said = heads.patches.flatten(0, 1)
            each = F.cross_entropy(said, labels.flatten(0, 1), reduction="none")
            loss = mean_of_kept(each.view(heads.patches.shape[:2]), step.kept(index))
            losses.append(step.part([index]) * loss)
        return torch.stack(losses).sum()


def token_labels(scores: Tensor, grid: tuple[int, int], top_k: int | None = None) -> Tensor:
    """Logits (B, classes, h, w) to probabilities (B, patches, classes) on a grid, row by row."""
    wide = scores if scores.dtype == torch.float64 else scores.float()  # no kernel in half
    if wide.shape[-2:] != grid:
        wide = F.interpolate(wide, size=grid, mode="bilinear", antialias=True)
    wide = wide.flatten(2).transpose(1, 2)
    if top_k is not None:
        best = wide.topk(top_k, dim=2)
        wide = torch.full_like(wide, -torch.inf).scatter(2, best.indices, best.values)
    return wide.softmax(dim=2)
