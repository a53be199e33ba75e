"""The LightningModule that trains one network; users subclass it.

It is to a network of one architecture what `SearchableClassifier` is to all of a space: same
objectives, mixing, optimisers and schedules, from the same settings. Hooks to override:
`compute_loss`, `mix`, `configure_optimizers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.objectives.base import PATCHES
from vitsearch.lightning.resuming.lightning_internals import ddp_settings
from vitsearch.lightning.settings import plain
from vitsearch.lightning.tasks import Task
from vitsearch.lightning.training.module import NetworkRun, TrainingModule
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.heads import HeadOutputs
from vitsearch.supernet.measuring.compiling import compiled
from vitsearch.supernet.storage.checkpoint import NETWORK_ENTRY, network_entry


class Classifier(TrainingModule):
    """Trains one `VisionTransformer` on labelled images.

    Attributes:
        net: The network, from fresh or inherited weights.
    """

    net: VisionTransformer

    def __init__(
        self,
        net: VisionTransformer,
        *,
        task: Task | None = None,
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        objective: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        compile: bool = False,
    ) -> None:
        """Take a network to train.

        Args:
            net: The network; stochastic depth is its own.
            task: What is trained for; classification by default.
            optimizer: Arguments of `timm.optim.create_optimizer_v2`; `lr` may be `auto`, see
                `SearchableClassifier`; `layer_decay` makes earlier layers learn more slowly.
            scheduler: Arguments of `timm.scheduler.create_scheduler_v2`, in epochs; empty for a
                constant learning rate.
            objective: Terms of the loss by name, each with its weight and settings; see
                `WeightedObjectives`. Labels alone by default.
            label_smoothing: Share of the target spread over all classes.
            mixup: Alpha of mixup; 0 for none.
            cutmix: Alpha of cutmix; 0 for none.
            compile: Whether `torch.compile` prepares the network when training begins, and once
                more for validation: a minute, more for deep networks, then fewer kernels in a
                step. What is trained and saved is the network itself.

        Raises:
            ConfigError: A number is out of range, or the objective needs what the network has not.
        """
        super().__init__(
            net.num_classes,
            task=task,
            optimizer=optimizer,
            scheduler=scheduler,
            objective=objective,
            label_smoothing=label_smoothing,
            mixup=mixup,
            cutmix=cutmix,
        )
        self.save_hyperparameters(
            {
                "optimizer": plain(optimizer),
                "scheduler": plain(scheduler),
                "objective": self.objective.settings,
                "label_smoothing": label_smoothing,
                "mixup": mixup,
                "cutmix": cutmix,
                "compile": check_flag("compile", compile),
            }
        )
        self.task.check_head(dense=net.space.head.dense)
        self._compile = compile
        self._logits, self._heads = _logits, _heads
        self.net = net.train()  # Lightning leaves it in eval mode, in which networks are extracted
        self._check_objective(net)

    def _check_objective(self, net: VisionTransformer) -> None:
        try:
            self.objective.check(net)
        except ConfigError as error:
            if PATCHES in self.objective.uses and net.head_patch is None:
                raise ConfigError(
                    f"{str(error).partition(':')[0]}: it needs a classifier of patch tokens: make "
                    f"the network with patch_head=True"
                ) from error
            raise

    # Training

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W)."""
        return self._logits(self.net, images)

    def setup(self, stage: str) -> None:
        """Load teachers; fit to the trainer's processes; compile, if asked to."""
        super().setup(stage)
        if self._compile and stage == "fit":
            self._logits, self._heads = compiled(_logits), compiled(_heads)
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and not self._uses_all_heads():
            ddp_settings(strategy)["find_unused_parameters"] = True  # DDP would wait for them

    def teardown(self, stage: str) -> None:
        """Leave the network as it was given, to be run, copied and pickled."""
        super().teardown(stage)
        self._logits, self._heads = _logits, _heads

    def _uses_all_heads(self) -> bool:
        return self.net.head_patch is None or PATCHES in self.objective.uses

    def run_network(self, images: Tensor) -> NetworkRun:
        """The network on all images."""
        heads: tuple[HeadOutputs, ...] = ()
        if self.objective.needs_heads(self.net):
            heads = (self._heads(self.net, images, self.objective.layers),)
        logits = heads[0].answer if heads else self(images)
        return NetworkRun((self.net.architecture,), (range(len(images)),), logits, heads)

    # Validation

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count the answers."""
        images, targets = self.task.prepare(batch, self.space)
        self.count("", self.task.detailed(), self(images), targets)

    def on_validation_epoch_end(self) -> None:
        """Log all figures of the task."""
        self.log_counted("", self.task.detailed())

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write which network it is, beside Lightning's own entries."""
        checkpoint[NETWORK_ENTRY] = network_entry(self.net)


# With the network as an argument, so that a copied module does not run the original's.


def _logits(net: VisionTransformer, images: Tensor) -> Tensor:
    return net(images)  # type: ignore[no-any-return]


def _heads(net: VisionTransformer, images: Tensor, layers: tuple[int, ...]) -> HeadOutputs:
    return net.forward_heads(images, layers=layers)
