"""The LightningModule that trains one network by itself, with the recipe of a supernet.

It is what `SearchableClassifier` is for all architectures of a space: same loss, mixing, optimiser
and schedule, from the same settings. Hooks to override: `compute_loss`, `mix`,
`configure_optimizers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from vitsearch.lightning.mixing import BatchMixer
from vitsearch.lightning.optimizing import (
    DEFAULT_OPTIMIZER,
    DEFAULT_SCHEDULER,
    check_optimizer,
    make_optimizers,
    step_schedule,
)
from vitsearch.lightning.settings import plain
from vitsearch.lightning.targets import check_finite, check_mixing, cross_entropy
from vitsearch.supernet import VisionTransformer


class StandaloneClassifier(pl.LightningModule):
    """Trains one `VisionTransformer` on labelled images.

    Attributes:
        net: The network, from fresh or inherited weights.
    """

    def __init__(
        self,
        net: VisionTransformer,
        *,
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        """Take a network to train.

        Args:
            net: The network; stochastic depth is its own.
            optimizer: Arguments of `timm.optim.create_optimizer_v2`.
            scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs; empty for a
                constant learning rate.
            label_smoothing: Share of the target spread over all classes.
            mixup: Alpha of mixup; 0 for none.
            cutmix: Alpha of cutmix; 0 for none.

        Raises:
            ConfigError: A number is out of range.
        """
        super().__init__()
        check_mixing(label_smoothing=label_smoothing, mixup=mixup, cutmix=cutmix)
        self._mixer = BatchMixer(
            mixup=mixup, cutmix=cutmix, label_smoothing=label_smoothing, num_classes=net.num_classes
        )
        optimizer, scheduler = plain(optimizer), plain(scheduler)
        self.optimizer_settings = DEFAULT_OPTIMIZER if optimizer is None else optimizer
        self.scheduler_settings = DEFAULT_SCHEDULER if scheduler is None else scheduler
        check_optimizer(self.optimizer_settings, self.scheduler_settings)
        self.label_smoothing = label_smoothing
        self.net = net.train()  # Lightning leaves it in eval mode, in which networks are extracted
        self._accuracy = MulticlassAccuracy(net.num_classes, average="micro")

    # Hooks to override

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup and cutmix: images (B, C, H, W), and labels (B,) or mixed targets (B, classes)."""
        return self._mixer(images, targets)

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (B, classes) for labels (B,) or soft targets (B, classes)."""
        return cross_entropy(logits, targets, self.label_smoothing)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Timm's optimiser and learning-rate schedule, stepped once a batch."""
        return make_optimizers(
            self.net, self.trainer, self.optimizer_settings, self.scheduler_settings
        )

    # Training and validation

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        return self.net(images)  # type: ignore[no-any-return]

    def setup(self, stage: str) -> None:
        """Add up accuracies over processes only if this trainer is what started them."""
        self._accuracy.sync_on_compute = isinstance(self.trainer.strategy, ParallelStrategy)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One forward of the whole batch."""
        images, targets = self.mix(*batch)
        loss = self.compute_loss(self(images), targets)
        check_finite(loss, self)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Tell timm's schedule the number of optimiser steps."""
        step_schedule(self, scheduler, metric)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the correct answers."""
        images, targets = batch
        self._accuracy.update(self(images), targets)

    def on_validation_epoch_end(self) -> None:
        """Log top-1."""
        self.log("val/top1", self._accuracy.compute(), prog_bar=True)
        self._accuracy.reset()
