"""The callback that decides which architectures each training step trains."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from vitsearch.errors import ConfigError
from vitsearch.lightning.classifier import SearchableClassifier
from vitsearch.samplers import Sampler, UniformSampler


class MultiArchitectureSampling(pl.Callback):
    """Several architectures share each batch, in one forward and one backward pass.

    Source: Searching for Efficient Multi-Stage Vision Transformers (ViT-ResNAS), section 3.2.

    The architectures are a function of the sampler's seed, the step and the rank, so that a resumed
    run trains the same ones.
    """

    def __init__(
        self,
        num_architectures: int = 4,
        sampler: Sampler | None = None,
        *,
        same_on_all_ranks: bool = False,
    ) -> None:
        """Set up sampling.

        Args:
            num_architectures: How many share a batch; 1 is single-path training.
            sampler: Which ones; uniform by default.
            same_on_all_ranks: Whether every process trains the same ones in a step.

        Raises:
            ConfigError: `num_architectures` is below 1.
        """
        if num_architectures < 1:
            raise ConfigError(f"num_architectures={num_architectures} must be 1 or more")
        self.num_architectures = num_architectures
        self.sampler = sampler or UniformSampler()
        self.same_on_all_ranks = same_on_all_ranks

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the module can be told what to train.

        Raises:
            ConfigError: It is no `SearchableClassifier`.
        """
        if not isinstance(pl_module, SearchableClassifier):
            raise ConfigError(
                f"MultiArchitectureSampling needs a SearchableClassifier, "
                f"not {type(pl_module).__name__}"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that the batch can be shared, and that the objective can train what is drawn.

        Raises:
            ConfigError: The batch is smaller than, or no multiple of, the number of architectures;
                or the objective needs other architectures.
        """
        assert isinstance(pl_module, SearchableClassifier)
        batch_size = getattr(trainer.train_dataloader, "batch_size", None)
        check_batch(batch_size, self.num_architectures)
        pl_module.objective.check_sampling(pl_module.space, self.num_architectures, self.sampler)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draw the step's architectures."""
        assert isinstance(pl_module, SearchableClassifier)
        pl_module.step_architectures = self.sampler.sample(
            pl_module.space,
            num_architectures=self.num_architectures,
            step=trainer.fit_loop.epoch_loop.total_batch_idx,
            rank=0 if self.same_on_all_ranks else trainer.global_rank,
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Forget them."""
        assert isinstance(pl_module, SearchableClassifier)
        pl_module.step_architectures = None


def check_batch(batch_size: int | None, num_architectures: int) -> None:
    """Refuse a batch that its architectures cannot share evenly.

    Raises:
        ConfigError: Names both numbers.
    """
    if batch_size is None:
        return
    if batch_size < num_architectures:
        raise ConfigError(
            f"batch_size={batch_size} is smaller than num_architectures={num_architectures}; "
            f"each architecture needs at least one image"
        )
    if batch_size % num_architectures:
        raise ConfigError(
            f"batch_size={batch_size} cannot be shared evenly by "
            f"num_architectures={num_architectures}; make it a multiple"
        )
