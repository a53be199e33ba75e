"""In-place distillation: the largest architecture teaches the others of a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_number
from vitsearch.lightning.objectives.base import Objective, StepOutputs
from vitsearch.lightning.objectives.divergence import soft_divergence
from vitsearch.spaces import Architecture
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.heads import resized
from vitsearch.supernet.network import ElasticTransformer


class InPlaceDistillation(Objective):
    """Every architecture but the largest learns the largest one's answers to its own images.

    The teacher is the largest architecture of the space, with the weights of the moment, whether
    the step trains it or not. It runs once more, without gradient, on those images that it does not
    train on. Source: Universally Slimmable Networks (ICCV 2019), "inplace distillation"; AlphaNet
    (ICML 2021), section 2, for sampled architectures.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        """Say how soft the answers are.

        Args:
            temperature: Divides the logits of both.

        Raises:
            ConfigError: The temperature is not above 0.
        """
        self.temperature = check_number("temperature", temperature, "(0, inf)")

    def __call__(self, step: StepOutputs) -> Tensor:
        """Divergence of the students from the teacher; 0 if the largest is alone."""
        assert isinstance(step.net, SuperTransformer)
        largest = step.net.largest
        students = [i for i, a in enumerate(step.architectures) if a != largest]
        if not students:
            return step.logits.new_zeros(())
        answers = _answers(step, step.net, students)
        loss = soft_divergence(
            torch.cat([step.of_rows(step.logits, index) for index in students]),
            torch.cat([answers[step.shares[index]] for index in students]),
            self.temperature,
        )
        return step.part(students) * loss

    def check(self, net: ElasticTransformer) -> None:
        """Students share their teacher's weights.

        Raises:
            ConfigError: It is no supernet, or one of a single architecture.
        """
        super().check(net)
        if not isinstance(net, SuperTransformer):
            raise ConfigError(
                "one network alone has no larger one to learn from; take teacher_distillation"
            )
        if net.space.size() == 1:
            raise ConfigError(f"space {net.space.name} has one architecture, and so no students")

    def check_sampling(
        self, largest: Architecture, steps: Sequence[Sequence[Architecture]]
    ) -> None:
        """Teacher and students must be trained together.

        Raises:
            ConfigError: A step trains one architecture.
        """
        if any(len(step) == 1 for step in steps):
            raise ConfigError(
                "one architecture a step leaves the largest without students or the others without "
                "a trained teacher: make callbacks.sampling.num_architectures 2 or more, with "
                "sampler=sandwich to train the largest in every step"
            )


def _answers(
    step: StepOutputs, net: SuperTransformer, students: Sequence[int]
) -> dict[range, Tensor]:
    """What the largest says of the images of each share that a student has."""
    known = {
        step.shares[index]: step.of_rows(step.logits, index).detach()
        for index, architecture in enumerate(step.architectures)
        if architecture == net.largest
    }
    wanted = {step.shares[index]: index for index in students if step.shares[index] not in known}
    if not wanted:
        return known
    images = torch.cat([step.seen(step.images, index) for index in wanted.values()])
    # Batch statistics are those of a share, as in the runs of the students.
    apart = len(wanted) if net.has_batch_norm else 1
    # After the step's own forward pass: autocast, in older versions of torch, keeps the copies of
    # weights that it makes here, without gradient, and would use them there.
    with torch.no_grad():
        said = net(images, [net.largest] * apart)
    if said.dim() == 4:  # on a grid of its own, where architectures choose their patch size
        said = resized(said, step.logits.shape[2:])
    return known | dict(zip(wanted, said.split([len(share) for share in wanted]), strict=True))
