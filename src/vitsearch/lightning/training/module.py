"""What both LightningModules share: the recipe by which a network learns, from settings.

`SearchableClassifier` trains a supernet by it, `Classifier` one network. Hooks to override: `mix`,
`compute_loss`, `configure_optimizers`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from vitsearch.errors import ConfigError
from vitsearch.lightning.objectives import ImageFacts, StepOutputs, WeightedObjectives
from vitsearch.lightning.settings import per_channel, plain
from vitsearch.lightning.training.averaging import follow_weights, note_unused_averages
from vitsearch.lightning.training.losses import check_finite, check_mixing, cross_entropy
from vitsearch.lightning.training.mixing import BatchMixer
from vitsearch.lightning.training.optimizers import (
    DEFAULT_OPTIMIZER,
    DEFAULT_SCHEDULER,
    check_optimizer,
    make_optimizers,
    step_schedule,
    with_rate,
)
from vitsearch.spaces import SearchSpace
from vitsearch.supernet import SuperTransformer, VisionTransformer


class TrainingModule(pl.LightningModule):
    """Trains a network by objectives, with timm's optimisers and schedules.

    A subclass sets `net`, says in `run_step` how it runs, and names what it validates.

    Attributes:
        net: What is trained.
        num_classes: Of the labels.
        objective: What training learns from.
        label_smoothing: Share of the target spread over all classes.
        scheduler_settings: Arguments of `timm.scheduler.create_scheduler_v2`.
    """

    net: SuperTransformer | VisionTransformer

    def __init__(
        self,
        num_classes: int,
        *,
        optimizer: Mapping[str, Any] | None,
        scheduler: Mapping[str, Any] | None,
        objective: Mapping[str, Any] | None,
        label_smoothing: float,
        mixup: float,
        cutmix: float,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"num_classes={num_classes} must be 2 or more")
        check_mixing(label_smoothing=label_smoothing, mixup=mixup, cutmix=cutmix)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.objective = WeightedObjectives(objective)
        optimizer, scheduler = plain(optimizer), plain(scheduler)
        self._optimizer = DEFAULT_OPTIMIZER if optimizer is None else optimizer
        self.scheduler_settings = DEFAULT_SCHEDULER if scheduler is None else scheduler
        check_optimizer(self._optimizer, self.scheduler_settings)
        self._mixer = BatchMixer(
            mixup=mixup, cutmix=cutmix, label_smoothing=label_smoothing, num_classes=num_classes
        )
        self._accuracies = nn.ModuleDict()
        self._prepared_for: ImageFacts | None = None

    @property
    def space(self) -> SearchSpace:
        """What could be chosen, and how large the images are."""
        return self.net.space

    @property
    def optimizer_settings(self) -> dict[str, Any]:
        """Arguments of `timm.optim.create_optimizer_v2`; `lr` is a number, whatever `auto` is."""
        return with_rate(self._optimizer, self.net.num_features)

    # Hooks to override

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup and cutmix: images (B, C, H, W), and labels (B,) or mixed targets (B, classes).

        The pair may be a `MixedBatch`, which tells patches what cutmix put where.
        """
        return self._mixer(images, targets)

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (B, classes) for labels (B,) or soft targets (B, classes).

        Objectives call it for whatever learns labels: the classifier and, flattened, patches.
        """
        return cross_entropy(logits, targets, self.label_smoothing)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Timm's optimiser and learning-rate schedule, stepped once a batch."""
        return make_optimizers(
            self.net, self.trainer, self.optimizer_settings, self.scheduler_settings
        )

    # Training

    @abstractmethod
    def run_step(self, images: Tensor, targets: Tensor) -> StepOutputs:
        """Mix a batch and run the network on it."""

    def prepare_objective(self, data: object = None) -> None:
        """Load what the objective needs, such as a teacher; `setup` does, commands do it earlier.

        Args:
            data: The data module, whose `mean` and `std` say how images are normalised.

        Raises:
            ConfigError: A teacher is missing, or fits neither images nor classes.
        """
        images = ImageFacts(
            num_classes=self.num_classes,
            in_chans=self.space.in_chans,
            image_size=self.space.image_size,
            mean=per_channel(getattr(data, "mean", None)),
            std=per_channel(getattr(data, "std", None)),
        )
        if images != self._prepared_for:
            self.objective.prepare(images)
            self._prepared_for = images

    def setup(self, stage: str) -> None:
        """Load teachers."""
        if stage == "fit":
            self.prepare_objective(getattr(self.trainer, "datamodule", None))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One forward pass of all that the step trains, and the objective's terms."""
        loss, terms = self.objective(self.run_step(*batch))
        check_finite(loss, self)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        for name, value in terms.items():
            self.log(f"train/{name}", value, on_step=False, on_epoch=True)
        return loss

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Tell timm's schedule the number of optimiser steps."""
        step_schedule(self, scheduler, metric)

    def on_validation_start(self) -> None:
        """Averages that have not begun validate the weights as they are."""
        follow_weights(self.trainer, self)

    def on_train_epoch_end(self) -> None:
        """Averages that have not begun end with the weights as they are."""
        follow_weights(self.trainer, self)

    def on_train_end(self) -> None:
        """Say which averages have not begun."""
        note_unused_averages(self.trainer)

    def on_validation_epoch_end(self) -> None:
        """Log what `validation_step` has counted."""
        for name, accuracy in self._accuracies.items():
            assert isinstance(accuracy, MulticlassAccuracy)
            # `compute` adds up the counts of all processes, so that all log the same number.
            self.log(f"val/{name}", accuracy.compute(), prog_bar=True)
            accuracy.reset()
