"""The LightningModule that trains a super-transformer; users subclass it.

It trains whatever architectures `step_architectures` names (the callback
`MultiArchitectureSampling` writes it before each step), and validates three fixed ones on the
search split. Hooks to override: `compute_loss`, `mix`, `configure_optimizers`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from vitsearch.elastic import NormStatistics
from vitsearch.errors import ConfigError
from vitsearch.lightning.optimizing import (
    DEFAULT_OPTIMIZER,
    DEFAULT_SCHEDULER,
    check_optimizer,
    make_optimizers,
    plain_settings,
    step_schedule,
)
from vitsearch.lightning.scoring import statistics_batches
from vitsearch.lightning.targets import check_finite, cross_entropy, make_mixup
from vitsearch.spaces import Architecture, SearchSpace, build_space
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.checkpoint import ENTRY, supernet_entry


class SearchableClassifier(pl.LightningModule):
    """Weight-sharing training of all architectures of a space on labelled images.

    Attributes:
        net: The super-transformer.
        step_architectures: What the coming step trains; `None` trains the largest.
        references: The architectures that validation scores: smallest, largest, one at random.
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, Any] | str,
        num_classes: int,
        *,
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        drop_path_rate: float = 0.0,
        sharing: str = "prefix",
        reference_seed: int = 0,
    ) -> None:
        """Build the super-transformer.

        Args:
            space: A space, its configuration, or its name.
            num_classes: How many classes the images have.
            optimizer: Arguments of `timm.optim.create_optimizer_v2`.
            scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs; empty for a
                constant learning rate.
            label_smoothing: Share of the target spread over all classes.
            mixup: Alpha of mixup; 0 for none.
            cutmix: Alpha of cutmix; 0 for none.
            drop_path_rate: Stochastic depth of the last block.
            sharing: Which channels a width trains: `prefix`, `bilateral` or `cyclic`; see
                `SuperTransformer`.
            reference_seed: Draws the random architecture of validation.

        Raises:
            ConfigError: A number is out of range.
            SpaceError: The space is unknown or malformed.
        """
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"num_classes={num_classes} must be 2 or more")
        self._mixup = make_mixup(
            num_classes, label_smoothing=label_smoothing, mixup=mixup, cutmix=cutmix
        )
        if isinstance(space, str):
            space = build_space(space)
        elif not isinstance(space, SearchSpace):
            space = SearchSpace(space)
        optimizer, scheduler = plain_settings(optimizer), plain_settings(scheduler)
        self.save_hyperparameters(ignore=["space", "optimizer", "scheduler"])
        self.save_hyperparameters(
            {"space": space.config, "optimizer": optimizer, "scheduler": scheduler}
        )
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.net = SuperTransformer(
            space, num_classes, drop_path_rate=drop_path_rate, sharing=sharing
        )
        self.step_architectures: Sequence[Architecture] | None = None
        self.references: dict[str, Architecture] = {
            "smallest": space.smallest(),
            "largest": space.largest(),
            "random": space.sample(random.Random(reference_seed)),
        }
        self.optimizer_settings = DEFAULT_OPTIMIZER if optimizer is None else optimizer
        self.scheduler_settings = DEFAULT_SCHEDULER if scheduler is None else scheduler
        check_optimizer(self.optimizer_settings, self.scheduler_settings)
        self._accuracies = nn.ModuleDict(
            {name: MulticlassAccuracy(num_classes, average="micro") for name in self.references}
        )
        self._statistics: dict[str, NormStatistics] = {}

    @property
    def space(self) -> SearchSpace:
        """What can be chosen."""
        return self.net.space

    # Hooks to override

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup and cutmix: images (B, C, H, W), and labels (B,) or mixed targets (B, classes)."""
        if self._mixup is None:
            return images, targets
        mixed: tuple[Tensor, Tensor] = self._mixup(images, targets)
        return mixed

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (B, classes) for labels (B,) or soft targets (B, classes)."""
        return cross_entropy(logits, targets, self.label_smoothing)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Timm's optimiser and learning-rate schedule, stepped once a batch."""
        return make_optimizers(
            self.net, self.trainer, self.optimizer_settings, self.scheduler_settings
        )

    # Training

    def forward(
        self, images: Tensor, architectures: Architecture | Sequence[Architecture] | None = None
    ) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W); see `SuperTransformer.forward`."""
        return self.net(images, architectures)  # type: ignore[no-any-return]

    def setup(self, stage: str) -> None:
        """Make data-parallel training correct although a step leaves weights without gradient."""
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            # A sub-network uses a part of the parameters: DDP must look which, or it waits for (or
            # silently skips) the others. Its running statistics need no broadcast: they are never
            # trusted, see `vitsearch.elastic.statistics`.
            settings = strategy._ddp_kwargs
            if settings.get("static_graph"):
                raise ConfigError(
                    "trainer.strategy: static_graph=true cannot train sampled architectures, "
                    "whose graph changes every step; leave it out"
                )
            settings["find_unused_parameters"] = True
            settings.setdefault("broadcast_buffers", False)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One forward of all architectures of the step, each on its share of the batch."""
        images, targets = self.mix(*batch)
        loss = self.compute_loss(self(images, self.step_architectures), targets)
        check_finite(loss, self.trainer)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Tell timm's schedule the number of optimiser steps."""
        step_schedule(self, scheduler, metric)

    # Validation on the search split

    def on_validation_epoch_start(self) -> None:
        """Estimate the BatchNorm statistics of the reference architectures."""
        if self.net.has_batch_norm:
            batches = [images.to(self.device) for images in statistics_batches(self.trainer)]
            for name, architecture in self.references.items():
                self._statistics[name] = self.net.estimate_statistics(architecture, batches)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the correct answers of each reference architecture."""
        images, targets = batch
        for name, architecture in self.references.items():
            logits = self.net(images, architecture, statistics=[self._statistics.get(name)])
            self._accuracies[name].update(logits, targets)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log top-1 of the smallest, the largest and a random architecture."""
        for name, accuracy in self._accuracies.items():
            assert isinstance(accuracy, MulticlassAccuracy)
            # `compute` adds up the counts of all processes, so that all log the same number.
            self.log(f"val/top1_{name}", accuracy.compute(), prog_bar=True)
            accuracy.reset()

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what `vitsearch.load_supernet` needs, beside Lightning's own entries."""
        checkpoint[ENTRY] = supernet_entry(self.net)
