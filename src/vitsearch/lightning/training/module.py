"""What both LightningModules share: the recipe by which a network learns, from settings.

`SearchableClassifier` trains a supernet by it, `Classifier` one network. Hooks to override: `mix`,
`compute_loss`, `configure_optimizers`.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning.objectives import ImageFacts, StepOutputs, WeightedObjectives
from vitsearch.lightning.scoring.answers import tally_of_all
from vitsearch.lightning.scoring.splits import training_loaders, validation_loaders
from vitsearch.lightning.settings import per_channel, plain
from vitsearch.lightning.tasks import Classification, Tally, Task
from vitsearch.lightning.training.averaging import (
    follow_learned,
    follow_weights,
    note_unused_averages,
)
from vitsearch.lightning.training.losses import check_finite, check_mixing
from vitsearch.lightning.training.mixing import BatchMixer, MixedBatch
from vitsearch.lightning.training.optimizers import (
    DEFAULT_OPTIMIZER,
    DEFAULT_SCHEDULER,
    check_optimizer,
    make_optimizers,
    step_schedule,
    with_rate,
)
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet import SuperTransformer, VisionTransformer
from vitsearch.supernet.heads import HeadOutputs


class NetworkRun(NamedTuple):
    """What ran on the images of a step, and what it said; see `StepOutputs`."""

    architectures: tuple[Architecture, ...]
    shares: tuple[range, ...]
    logits: Tensor
    heads: tuple[HeadOutputs, ...]


class TrainingModule(pl.LightningModule):
    """Trains a network by objectives, with timm's optimisers and schedules.

    A subclass sets `net`, says in `run_network` how it runs, and counts in `validation_step`.

    Attributes:
        net: What is trained.
        task: What it is trained for: batches, loss, counted answers.
        num_classes: Of the labels.
        objective: What training learns from.
        learned: Layers that objectives train beside the network, by the names of the objectives.
        penalty: Called with the network, what is added to the loss; its own parameters are trained,
            too. `None` for none.
        label_smoothing: Share of the target spread over all classes.
        scheduler_settings: Arguments of `timm.scheduler.create_scheduler_v2`.
    """

    net: SuperTransformer | VisionTransformer

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task | None,
        optimizer: Mapping[str, Any] | None,
        scheduler: Mapping[str, Any] | None,
        objective: Mapping[str, Any] | None,
        label_smoothing: float,
        mixup: float,
        cutmix: float,
    ) -> None:
        super().__init__()
        mixing = {"label_smoothing": label_smoothing, "mixup": mixup, "cutmix": cutmix}
        check_mixing(**mixing)
        if task is None:
            task = self.default_task(num_classes, label_smoothing)
        if not isinstance(task, Task):
            raise ConfigError(
                f"model.task of type {type(task).__name__} is no vitsearch.lightning.tasks.Task"
            )
        self.num_classes = num_classes
        self.task = task.for_classes(num_classes)
        self.penalty: nn.Module | None = None
        for name, value in mixing.items():
            if value and not task.mixes:
                raise ConfigError(f"{name}={value} is not for the task {task.name}; legal: 0")
        self.label_smoothing = label_smoothing
        self.objective = WeightedObjectives(objective)
        self.learned = nn.ModuleDict()
        optimizer, scheduler = plain(optimizer), plain(scheduler)
        self._optimizer = DEFAULT_OPTIMIZER if optimizer is None else optimizer
        self.scheduler_settings = DEFAULT_SCHEDULER if scheduler is None else scheduler
        check_optimizer(self._optimizer, self.scheduler_settings)
        self._mixer = BatchMixer(
            mixup=mixup, cutmix=cutmix, label_smoothing=label_smoothing, num_classes=num_classes
        )
        self._tallies: dict[str, Tally] = {}
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

    @staticmethod
    def space_config(config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of the space of the network, from the one that was given."""
        return dict(config)

    def default_task(self, num_classes: int, label_smoothing: float) -> Task:
        """What the network is trained for, where no task is given."""
        return Classification(num_classes=num_classes, label_smoothing=label_smoothing)

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup and cutmix: images (B, C, H, W), and labels (B,) or mixed targets (B, classes).

        The pair may be a `MixedBatch`, which tells patches what cutmix put where.
        """
        return self._mixer(images, targets)

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (B, classes) for labels (B,) or soft targets (B, classes).

        Of a dense head logits are (B, classes, h, w), and targets masks (B, H, W).

        Objectives call it for whatever learns labels: the classifier and, flattened, patches.
        """
        return self.task.loss(logits, targets)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Timm's optimiser and learning-rate schedule, stepped once a batch."""
        return make_optimizers(
            self.net,
            self.trainer,
            self.optimizer_settings,
            self.scheduler_settings,
            beside=(
                *self.learned.parameters(),
                *(() if self.penalty is None else self.penalty.parameters()),
            ),
        )

    # Training

    @abstractmethod
    def run_network(self, images: Tensor) -> NetworkRun:
        """Run what the step trains on images (B, C, H, W)."""

    def run_step(self, images: Tensor, targets: Tensor) -> StepOutputs:
        """Mix a batch and run the network on it."""
        mixed = self.mix(images, targets)
        images, targets = mixed
        run = self.run_network(images)
        return StepOutputs(
            net=self.net,
            images=images,
            targets=targets,
            mixing=mixed.mixing if isinstance(mixed, MixedBatch) else None,
            architectures=run.architectures,
            shares=run.shares,
            logits=run.logits,
            heads=run.heads,
            layers=self.objective.layers,
            token_taught=self.objective.teaches_token(self.net),
            compute_loss=self.compute_loss,
            learned=self.learned,
        )

    def begin_with(self, original: VisionTransformer) -> None:
        """Say that training begins with the weights of a pretrained network, which may teach.

        Args:
            original: The network as it is now; it is copied.
        """
        self.objective.begin_with(lambda: copy.deepcopy(original))
        self._prepared_for = None

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
            self._keep_learned(self.objective.make_learned())

    def _keep_learned(self, made: Mapping[str, nn.Module]) -> None:
        """Take in what objectives have made to be learned; what fits already stays as it is."""
        like = next(self.net.parameters())
        for name in [name for name in self.learned if name not in made]:
            del self.learned[name]
        for name, layers in made.items():
            if name not in self.learned or shapes(self.learned[name]) != shapes(layers):
                self.learned[name] = layers.to(like)

    def setup(self, stage: str) -> None:
        """Refuse several loaders; load teachers.

        Raises:
            DataError: The trainer was given several.
        """
        # It only looks at a batch, so it does not matter which of two hooks Lightning takes.
        warnings.filterwarnings("ignore", "You have overridden `on_before_batch_transfer`")
        if stage == "fit":
            self._check_loaders()
            self.prepare_objective(getattr(self.trainer, "datamodule", None))
            follow_learned(self.trainer, self.learned)

    def _check_loaders(self) -> None:
        for name, step, loaders in (
            ("training", self.training_step, training_loaders),
            ("validation", self.validation_step, validation_loaders),
        ):
            count = len(loaders(self.trainer, hooks=False))
            if count > 1 and "dataloader_idx" not in inspect.signature(step).parameters:
                raise DataError(
                    f"the trainer was given {count} {name} loaders; {type(self).__name__} takes "
                    f"one: join the data sets with torch.utils.data.ConcatDataset"
                )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Check a batch while it is on the CPU: on an accelerator a look at its values would wait.

        Raises:
            DataError: It is none of the task's.
        """
        if self.device.type != "cpu" and not self._changes_batches_later():
            self.task.prepare(batch, self.space)
        return batch

    def _changes_batches_later(self) -> bool:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        hook = "on_after_batch_transfer"
        return is_overridden(hook, self) or (data is not None and is_overridden(hook, data))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One forward pass of all that the step trains, and the objective's terms."""
        step = self.run_step(*self.task.prepare(batch, self.space))
        loss, terms = self.objective(step)
        if self.penalty is not None:
            terms = {**terms, "penalty": self.penalty(self.net)}
            loss = loss + terms["penalty"]
        check_finite(loss, self)
        size = len(step.images)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=size)
        for name, value in terms.items():
            self.log(f"train/{name}", value, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Tell timm's schedule the number of optimiser steps."""
        step_schedule(self, scheduler, metric)

    def on_train_epoch_end(self) -> None:
        """Averages that have not begun end with the weights as they are."""
        follow_weights(self.trainer, self)

    def on_train_end(self) -> None:
        """Say which averages have not begun."""
        note_unused_averages(self.trainer)

    # Validation

    def on_validation_start(self) -> None:
        """Averages that have not begun validate the weights as they are; counting begins anew."""
        follow_weights(self.trainer, self)
        self._tallies.clear()

    def count(self, name: str, task: Task, outputs: Tensor, targets: Tensor) -> None:
        """Count the answers to a batch of validation, of whatever has this name."""
        tally = task.tally(outputs, targets)
        before = self._tallies.get(name)
        self._tallies[name] = tally if before is None else before + tally

    def log_counted(self, name: str, task: Task, suffix: str = "") -> None:
        """Log the figures of what was counted under a name, and begin anew."""
        tally = self._tallies.pop(name, None)
        # Added up over processes only if this trainer is what started them.
        if isinstance(self.trainer.strategy, ParallelStrategy):
            tally = tally_of_all(tally)
        if tally is not None:
            for figure, value in task.score(tally).figures.items():
                number = torch.tensor(value, dtype=torch.float32, device=self.device)
                self.log(f"val/{figure}{suffix}", number, prog_bar=True)

    # Checkpoints

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what objectives learned, where the module does not train with them."""
        state = checkpoint["state_dict"]
        own = self.state_dict()
        for name in [n for n in state if n.startswith("learned.") and n not in own]:
            del state[name]


def shapes(layers: nn.Module) -> dict[str, torch.Size]:
    """The shapes of all parameters, by name."""
    return {name: parameter.shape for name, parameter in layers.named_parameters()}
