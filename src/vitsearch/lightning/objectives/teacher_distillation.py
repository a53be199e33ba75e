"""Distillation from a teacher that is trained already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_number, check_one_of
from vitsearch.lightning.objectives.base import DISTILLATION, ImageFacts, Objective, StepOutputs
from vitsearch.lightning.objectives.divergence import soft_divergence
from vitsearch.lightning.objectives.teacher import Teacher, load_teacher

KINDS = ("hard", "soft")


class TeacherDistillation(Objective):
    """All architectures learn what a frozen teacher says of the images, mixed as they see them.

    Where the space has a distillation token (`space.head.distillation`), its classifier learns from
    the teacher and the class token's from the labels; elsewhere the one classifier learns both.
    Source: Training data-efficient image transformers & distillation through attention (DeiT, ICML
    2021), section 4.
    """

    uses = frozenset({DISTILLATION})
    of_images = True

    def __init__(
        self,
        teacher: Mapping[str, Any] | nn.Module | None = None,
        kind: str = "hard",
        temperature: float = 3.0,
    ) -> None:
        """Name the teacher and what is learnt of it.

        Args:
            teacher: A network, or the settings of `load_teacher`.
            kind: `hard`: its best class, as a label. `soft`: its probabilities.
            temperature: Divides the logits of both, for `soft`.

        Raises:
            ConfigError: A setting is out of range.
        """
        check_one_of("kind", kind, KINDS)
        self.kind = kind
        self.temperature = check_number("temperature", temperature, "(0, inf)")
        self._given = teacher
        self.teacher: Teacher | None = None

    def prepare(self, images: ImageFacts) -> None:
        """Load the teacher.

        Raises:
            ConfigError: There is none, or it does not fit the images or the classes.
        """
        self.teacher = load_teacher(self._given, images)
        classes = self.teacher.probe(images).shape
        if tuple(classes) != (1, images.num_classes):
            raise ConfigError(
                f"teacher: it answers an image with scores of shape {tuple(classes)[1:]}, the data "
                f"has {images.num_classes} classes"
            )

    def __call__(self, step: StepOutputs) -> Tensor:
        """Cross-entropy for the teacher's classes, or divergence from its probabilities."""
        assert self.teacher is not None, "prepare() comes first"
        logits = step.logits
        if step.heads and step.heads[0].distillation is not None:
            logits = torch.cat([h.distillation for h in step.heads if h.distillation is not None])
        answers = step.by_row(self.teacher.logits(step.images))
        if self.kind == "hard":
            return F.cross_entropy(logits, answers.argmax(dim=1))
        return soft_divergence(logits, answers, self.temperature)
