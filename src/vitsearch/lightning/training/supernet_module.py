"""The LightningModule that trains a super-transformer; users subclass it.

It trains whatever architectures `step_architectures` names (the callback
`MultiArchitectureSampling` writes it before each step), and validates three fixed ones on the
search split. What it learns from is the objective (`objectives/`), labels by default. Hooks to
override: `compute_loss`, `mix`, `configure_optimizers`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from vitsearch.elastic import NormStatistics
from vitsearch.errors import ConfigError
from vitsearch.lightning.distributed import data_parallel_settings
from vitsearch.lightning.objectives import StepOutputs
from vitsearch.lightning.resuming.lightning_internals import ddp_settings
from vitsearch.lightning.scoring.splits import statistics_batches
from vitsearch.lightning.settings import plain
from vitsearch.lightning.tasks import Task
from vitsearch.lightning.threads import side_by_side
from vitsearch.lightning.training.module import NetworkRun, TrainingModule
from vitsearch.spaces import Architecture, SearchSpace, build_space
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.heads import HeadOutputs, joined_answers
from vitsearch.supernet.storage.checkpoint import ENTRY, supernet_entry


class SearchableClassifier(TrainingModule):
    """Weight-sharing training of all architectures of a space on labelled images.

    Attributes:
        net: The super-transformer.
        step_architectures: What the coming step trains; `None` trains the largest.
        step_whole_batch: Whether each of them sees all images of the batch, not its share.
        objective: What training learns from.
        search_space: The part of the space that is trained and searched.
        references: The architectures that validation scores: smallest, largest, one at random.
    """

    net: SuperTransformer

    def __init__(
        self,
        space: SearchSpace | Mapping[str, Any] | str,
        num_classes: int,
        *,
        task: Task | None = None,
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        objective: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        drop_path_rate: float = 0.0,
        zero_init_residual: bool | str = False,
        sharing: str = "prefix",
        reference_seed: int = 0,
        search_space: SearchSpace | None = None,
    ) -> None:
        """Build the super-transformer.

        Args:
            space: A space, its configuration, or its name.
            num_classes: How many classes the images have; the outputs of the network.
            task: What is trained for; classification by default.
            optimizer: Arguments of `timm.optim.create_optimizer_v2`; `lr` may be `auto`: 0.003,
                beyond 64 channels in inverse proportion to the space's largest width.
            scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs; empty for a
                constant learning rate.
            objective: Terms of the loss by name, each with its weight and settings; see
                `WeightedObjectives`. Labels alone by default.
            label_smoothing: Share of the target spread over all classes.
            mixup: Alpha of mixup; 0 for none.
            cutmix: Alpha of cutmix; 0 for none.
            drop_path_rate: Stochastic depth of the last block.
            zero_init_residual: Whether every block begins as the identity; `auto`: behind a
                convolutional stem.
            sharing: Which channels a width trains: `prefix`, `bilateral` or `cyclic`; see
                `SuperTransformer`.
            reference_seed: Draws the random architecture of validation.
            search_space: The part of the space that is trained and searched; all by default.

        Raises:
            ConfigError: A number is out of range, or the objective needs what the space has not.
            SpaceError: The space is unknown or malformed.
        """
        super().__init__(
            num_classes,
            task=task,
            optimizer=optimizer,
            scheduler=scheduler,
            objective=objective,
            label_smoothing=label_smoothing,
            mixup=mixup,
            cutmix=cutmix,
        )
        if isinstance(space, str):
            space = build_space(space)
        elif not isinstance(space, SearchSpace):
            space = SearchSpace(space)
        space = self._fitted(space)
        self.save_hyperparameters(
            ignore=["space", "search_space", "task", "optimizer", "scheduler", "objective"]
        )
        self.save_hyperparameters(
            {
                "space": space.config,
                "optimizer": plain(optimizer),
                "scheduler": plain(scheduler),
                "objective": self.objective.settings,
            }
        )
        self.net = SuperTransformer(
            space,
            num_classes,
            drop_path_rate=drop_path_rate,
            sharing=sharing,
        )
        self.task.check_head(dense=space.head.dense)
        self.net.zero_init_residual(zero_init_residual)
        self.objective.check(self.net)
        self.step_architectures: Sequence[Architecture] | None = None
        self.step_whole_batch = False
        self._reference_seed = reference_seed
        self._search_in(space if search_space is None else self._fitted(search_space))

    def _search_in(self, space: SearchSpace) -> None:
        """Say what is trained and searched, and which architectures validation scores."""
        self.search_space = space
        self.references: dict[str, Architecture] = {
            "smallest": space.smallest(),
            "largest": space.largest(),
            "random": space.sample(random.Random(self._reference_seed)),
        }
        self._statistics: dict[str, NormStatistics] = {}

    def _fitted(self, space: SearchSpace) -> SearchSpace:
        config = space.config
        wanted = self.space_config(config)
        return space if wanted == config else SearchSpace(wanted)

    def replace_net(self, net: SuperTransformer) -> None:
        """Go on with another supernet, of a part of the space; all of it is trained and searched.

        Optimisers, averages and whatever else holds its parameters are the caller's concern.
        """
        self.net = net
        self.hparams["space"] = net.space.config
        self._search_in(net.space)

    # Training

    def forward(
        self, images: Tensor, architectures: Architecture | Sequence[Architecture] | None = None
    ) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W); see `SuperTransformer.forward`."""
        return self.net(images, architectures)  # type: ignore[no-any-return]

    def setup(self, stage: str) -> None:
        """Load teachers; make data-parallel training correct although weights rest in a step."""
        super().setup(stage)
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy):
            settings = ddp_settings(strategy)
            if settings.get("static_graph"):
                raise ConfigError(
                    "trainer.strategy: static_graph=true cannot train sampled architectures, "
                    "whose graph changes every step; leave it out"
                )
            settings.update(data_parallel_settings(settings))

    def run_step(self, images: Tensor, targets: Tensor) -> StepOutputs:
        """Mix a batch and run the step's architectures on it, each on its share.

        Of a batch that they cannot share evenly, such as the last of an epoch, the images left over
        rest; of one with fewer images than architectures, the first architectures train.
        """
        left_over = 0 if self.step_whole_batch else len(images) % len(self._running(len(images)))
        if left_over:
            images, targets = images[:-left_over], targets[:-left_over]
        return super().run_step(images, targets)

    def _running(self, num_images: int) -> tuple[Architecture, ...]:
        """What trains on a batch."""
        architectures = tuple(self.step_architectures or [self.net.largest])
        return architectures if self.step_whole_batch else architectures[:num_images]

    def run_network(self, images: Tensor) -> NetworkRun:
        """Each architecture on its images: which ones, the logits of all, and by classifier."""
        count = len(images)
        architectures = self._running(count)
        if self.step_whole_batch:
            images = torch.cat([images] * len(architectures))
        heads: tuple[HeadOutputs, ...] = ()
        if self.objective.needs_heads(self.net):
            layers = self.objective.layers
            heads = tuple(self.net.forward_heads(images, architectures, layers=layers))
            logits = joined_answers([said.answer for said in heads], self.space.image_size)
        else:
            logits = self(images, architectures)
        size = count if self.step_whole_batch else count // len(architectures)
        starts = [0] * len(architectures) if self.step_whole_batch else range(0, count, size)
        shares = tuple(range(start, start + size) for start in starts)
        return NetworkRun(architectures, shares, logits, heads)

    # Validation on the search split

    def on_validation_epoch_start(self) -> None:
        """Estimate the BatchNorm statistics of the reference architectures."""
        if self.net.has_batch_norm:
            like = next(self.parameters())
            batches = [images.to(like) for images in statistics_batches(self.trainer)]
            found = side_by_side(
                lambda architecture: self.net.estimate_statistics(architecture, batches),
                list(self.references.values()),
            )
            self._statistics = dict(zip(self.references, found, strict=True))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count the answers of each reference architecture."""
        images, targets = self.task.prepare(batch, self.space)
        answers = side_by_side(
            lambda name: self.net(
                images, self.references[name], statistics=[self._statistics.get(name)]
            ),
            list(self.references),
        )
        for name, logits in zip(self.references, answers, strict=True):
            self.count(name, self.task, logits, targets)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of each reference architecture."""
        for name in self.references:
            self.log_counted(name, self.task, f"_{name}")

    # Checkpoints

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let callbacks that change the network make it the checkpoint's (`fit_to_checkpoint`)."""
        super().on_load_checkpoint(checkpoint)
        try:
            trainer = self.trainer
        except RuntimeError:  # `load_from_checkpoint` reads it without one
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "fit_to_checkpoint"):
                callback.fit_to_checkpoint(trainer, self, checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what `vitsearch.load_supernet` needs, beside Lightning's own entries."""
        checkpoint[ENTRY] = supernet_entry(self.net)
