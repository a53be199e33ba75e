"""Learning from labels, by the module's own `compute_loss`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.objectives.base import Objective, StepOutputs
from vitsearch.spaces import Architecture
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.network import ElasticTransformer


class CrossEntropy(Objective):
    """The loss of the logits for the labels, smoothed or mixed as the module says.

    Where a teacher teaches the distillation token, labels are for the class token alone (DeiT,
    section 4).
    """

    def __init__(self, largest_only: bool = False) -> None:
        """Say who learns from labels.

        Args:
            largest_only: Only the largest architecture of a step; the others have a teacher
                (Universally Slimmable Networks, "inplace distillation").

        Raises:
            ConfigError: It is no flag.
        """
        self.largest_only = check_flag("largest_only", largest_only)

    def __call__(self, step: StepOutputs) -> Tensor:
        """`compute_loss` of all rows, or of the largest architecture's.

        Raises:
            ConfigError: The step does not train the largest architecture, which alone learns.
        """
        logits = step.label_logits
        if not self.largest_only:
            return step.compute_loss(logits, step.by_row(step.targets))
        assert isinstance(step.net, SuperTransformer)
        self.check_sampling(step.net.largest, [step.architectures])
        learning = [i for i, a in enumerate(step.architectures) if a == step.net.largest]
        loss = step.compute_loss(
            torch.cat([step.of_rows(logits, index) for index in learning]),
            torch.cat([step.seen(step.targets, index) for index in learning]),
        )
        return step.part(learning) * loss

    def check(self, net: ElasticTransformer) -> None:
        """Only a supernet has a largest architecture.

        Raises:
            ConfigError: It is no supernet.
        """
        super().check(net)
        if self.largest_only and not isinstance(net, SuperTransformer):
            raise ConfigError("largest_only=true is for supernets; one network learns all labels")

    def check_sampling(
        self, largest: Architecture, steps: Sequence[Sequence[Architecture]]
    ) -> None:
        """Whoever alone learns from labels must be trained in every step.

        Raises:
            ConfigError: A step does without.
        """
        if self.largest_only and any(largest not in step for step in steps):
            raise ConfigError(
                "largest_only=true needs the largest architecture in every step: take "
                "sampler=sandwich and callbacks.sampling.num_architectures of 2 or more, or "
                "largest_only=false"
            )
