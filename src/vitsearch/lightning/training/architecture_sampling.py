"""The callback that decides which architectures each training step trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl

from vitsearch.errors import ConfigError
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.samplers import Sampler, UniformSampler, growth_space, settle, warm_up_space
from vitsearch.samplers.growth import Steps
from vitsearch.spaces import SearchSpace


class MultiArchitectureSampling(pl.Callback):
    """Several architectures share each batch, in one forward and one backward pass.

    Source: Searching for Efficient Multi-Stage Vision Transformers (ViT-ResNAS), section 3.2.

    The architectures are a function of the sampler's seed, the step and the rank, and during a
    warm-up of the epoch, so that a resumed run trains the same ones.
    """

    def __init__(
        self,
        num_architectures: int = 4,
        sampler: Sampler | None = None,
        *,
        whole_batch: bool = False,
        warm_up_epochs: int = 0,
        warm_up_choices: Sequence[str] | None = None,
        growth_epochs: int = 0,
        growth: Steps | None = None,
        same_on_all_ranks: bool = False,
    ) -> None:
        """Set up sampling.

        Args:
            num_architectures: How many train in a step; 1 is single-path training.
            sampler: Which ones; uniform by default.
            whole_batch: Whether each sees the whole batch, at that many times the price, instead of
                its own share of the images; the loss is the mean over architectures.
            warm_up_epochs: Epochs over which the options of widths grow from the largest alone to
                all; 0 trains all from the start. See `warm_up_space`.
            warm_up_choices: Names or patterns of the choices that grow; by default all widths.
            growth_epochs: Epochs over which groups of choices open, one after the other; 0 for
                none. See `growth_space`.
            growth: Names or patterns of the choices of each group.
            same_on_all_ranks: Whether every process trains the same ones in a step.

        Raises:
            ConfigError: `num_architectures` is below 1.
        """
        if num_architectures < 1:
            raise ConfigError(f"num_architectures={num_architectures} must be 1 or more")
        self.num_architectures = num_architectures
        self.sampler = sampler or UniformSampler()
        self.whole_batch = whole_batch
        self.warm_up_epochs = warm_up_epochs
        self.warm_up_choices = warm_up_choices
        self.growth_epochs = growth_epochs
        self.growth = growth
        self.same_on_all_ranks = same_on_all_ranks
        self._settled = self.sampler
        self._part: tuple[int, SearchSpace, SearchSpace] | None = None

    def check(self, module: SearchableClassifier, batch_size: int | None) -> None:
        """Refuse settings that fit neither space nor batch; let the sampler look at the space.

        Raises:
            ConfigError: A batch cannot be shared evenly, a setting is out of range, or the
                objective needs other architectures than are drawn.
            ConstraintError: A probability of identities cannot be found.
            SpaceError: The sampler needs what the space does not have.
        """
        if not self.whole_batch:
            check_batch(batch_size, self.num_architectures)
        self._part_of(module.search_space, 0)
        self._settled = settle(self.sampler, module.search_space, num_classes=module.num_classes)
        module.objective.check_sampling(module.search_space, self.num_architectures, self._settled)

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
        """Refuse settings that fit neither space, batch nor objective; see `check`."""
        assert isinstance(pl_module, SearchableClassifier)
        self.check(pl_module, getattr(trainer.train_dataloader, "batch_size", None))
        self._part = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draw the step's architectures."""
        assert isinstance(pl_module, SearchableClassifier)
        space = self._space_of(pl_module, trainer.current_epoch)
        pl_module.step_architectures = self._settled.sample(
            space,
            num_architectures=self.num_architectures,
            step=trainer.fit_loop.epoch_loop.total_batch_idx,
            rank=0 if self.same_on_all_ranks else trainer.global_rank,
        )
        pl_module.step_whole_batch = self.whole_batch

    def _space_of(self, module: SearchableClassifier, epoch: int) -> SearchSpace:
        """What an epoch trains."""
        space = module.search_space
        if self._part is not None and self._part[1] is not space:  # it was shrunk
            self._settled = settle(self.sampler, space, num_classes=module.num_classes)
            self._part = None
        if self._part is None or self._part[0] != epoch:
            self._part = epoch, space, self._part_of(space, epoch)
        return self._part[2]

    def _part_of(self, space: SearchSpace, epoch: int) -> SearchSpace:
        part = warm_up_space(space, epoch, self.warm_up_epochs, self.warm_up_choices)
        return growth_space(part, epoch, self.growth_epochs, self.growth)

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
        pl_module.step_whole_batch = False


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
            f"num_architectures={num_architectures}; make it a multiple, such as "
            f"{batch_size - batch_size % num_architectures}"
        )
