"""The LightningModule that trains one network; users subclass it.

It is to a network of one architecture what `SearchableClassifier` is to all of a space: same
objectives, mixing, optimisers and schedules, from the same settings. Hooks to override:
`compute_loss`, `mix`, `configure_optimizers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.strategies import DDPStrategy, ParallelStrategy
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from vitsearch.errors import ConfigError
from vitsearch.lightning.objectives import StepOutputs
from vitsearch.lightning.objectives.base import PATCHES
from vitsearch.lightning.resuming.lightning_internals import ddp_settings
from vitsearch.lightning.scoring.network_score import TOP_K
from vitsearch.lightning.settings import check_flag, plain
from vitsearch.lightning.training.mixing import MixedBatch
from vitsearch.lightning.training.module import TrainingModule
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
        self._compile = compile
        self._logits, self._heads = _logits, _heads
        self.net = net.train()  # Lightning leaves it in eval mode, in which networks are extracted
        self._check_objective(net)
        self._accuracies = nn.ModuleDict(
            {
                f"top{k}": MulticlassAccuracy(net.num_classes, average="micro", top_k=k)
                for k in TOP_K
                if k < net.num_classes
            }
        )

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
        for accuracy in self._accuracies.values():
            # Added up over processes only if this trainer is what started them.
            accuracy.sync_on_compute = isinstance(strategy, ParallelStrategy)  # type: ignore[assignment]
        if isinstance(strategy, DDPStrategy) and not self._uses_all_heads():
            ddp_settings(strategy)["find_unused_parameters"] = True  # DDP would wait for them

    def teardown(self, stage: str) -> None:
        """Leave the network as it was given, to be run, copied and pickled."""
        super().teardown(stage)
        self._logits, self._heads = _logits, _heads

    def _uses_all_heads(self) -> bool:
        return self.net.head_patch is None or PATCHES in self.objective.uses

    def run_step(self, images: Tensor, targets: Tensor) -> StepOutputs:
        """Mix a batch and run the network on all of it."""
        mixed = self.mix(images, targets)
        images, targets = mixed
        heads = (self._heads(self.net, images),) if self.objective.needs_heads(self.net) else ()
        return StepOutputs(
            net=self.net,
            images=images,
            targets=targets,
            mixing=mixed.mixing if isinstance(mixed, MixedBatch) else None,
            architectures=(self.net.architecture,),
            shares=(range(len(images)),),
            logits=heads[0].answer if heads else self(images),
            heads=heads,
            token_taught=self.objective.teaches_token(self.net),
            compute_loss=self.compute_loss,
        )

    # Validation

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the correct answers."""
        images, targets = batch
        logits = self(images)
        for accuracy in self._accuracies.values():
            accuracy.update(logits, targets)  # type: ignore[operator]

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write which network it is, beside Lightning's own entries."""
        checkpoint[NETWORK_ENTRY] = network_entry(self.net)


# With the network as an argument, so that a copied module does not run the original's.


def _logits(net: VisionTransformer, images: Tensor) -> Tensor:
    return net(images)  # type: ignore[no-any-return]


def _heads(net: VisionTransformer, images: Tensor) -> HeadOutputs:
    return net.forward_heads(images)
