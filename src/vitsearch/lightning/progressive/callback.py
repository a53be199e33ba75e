"""The callback that shrinks a supernet while it is trained, in the place of a search behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from vitsearch.costs import Constraint
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.progressive.descent import Descent
from vitsearch.lightning.progressive.result import score_what_is_left, write_shrinks
from vitsearch.lightning.progressive.settings import ShrinkSettings
from vitsearch.lightning.progressive.state import ShrinkingState
from vitsearch.lightning.progressive.supernet_in_training import (
    averaged,
    check_trained,
    make_plain,
)
from vitsearch.lightning.resuming.checkpoints import TrainingCheckpoint
from vitsearch.lightning.resuming.lightning_internals import is_accumulating
from vitsearch.lightning.scoring.splits import check_search_split
from vitsearch.lightning.search.factory import Settings, make_constraint
from vitsearch.lightning.search.history import refuse_old_history
from vitsearch.lightning.search.result import SearchResult
from vitsearch.lightning.training.architecture_sampling import MultiArchitectureSampling
from vitsearch.lightning.training.optimizers import training_length
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.shrinking.progressive.shrink import check_moments
from vitsearch.spaces import SearchSpace
from vitsearch.supernet.storage.checkpoint import ENTRY

_BEHIND = (MultiArchitectureSampling, WeightAveraging, TrainingCheckpoint)


class ProgressiveShrinking(pl.Callback):
    """Trains the largest network of a space, in which units die until it fits a budget.

    Every unit (head, hidden channel) has a factor: the weight of the BatchNorm behind it, else a
    learned gate. The loss gets the penalty `rho * sum_i w_i |factor_i|`, in which a unit's weight
    is its price in MACs. Now and then the units with the smallest factors go, physically, with
    their weights, moments, averages and statistics. What is left is the architecture; it is
    scored on the search split and written as a search writes its best.

    It works in any `Trainer` with one device or DDP, and stands before samplers, averages and
    checkpoints in the list of callbacks.

    Source: HR-NAS (CVPR 2021), section 3.3, and its public code.

    Attributes:
        settings: What was asked for.
        result: What the last training left.
    """

    def __init__(
        self,
        constraint: Constraint | Settings | None = None,
        *,
        published: bool = False,
        rho: float = 1.8e-4,
        threshold: float = 1e-3,
        every_n_epochs: float | None = None,
        warm_up_epochs: float = 25,
        least_dead_macs: float = 1e6,
        reached: float = 0.7,
        decay: float = 0.99,
        dirpath: str | Path | None = None,
        use_test_split: bool = True,
        report: bool = True,
    ) -> None:
        """Set up.

        Args:
            constraint: The budget: one window on a closed form, with an upper end.
            published: Whether there is no budget, and the published schedule instead: rho rises
                over `warm_up_epochs` and stays, and dead units alone go.
            rho: Strength of the penalty. With a budget it follows, from shrink to shrink, how far
                the living units are above the schedule.
            threshold: Factors of at most this size, live and averaged, are dead.
            every_n_epochs: Epochs between shrinks, also parts of one; 1 with a budget and 5 as
                published by default.
            warm_up_epochs: Over which rho rises, as published.
            least_dead_macs: What the dead must cost together for a shrink, as published; the last
                one takes any.
            reached: The share of the training after which the budget is kept.
            decay: Of the averages of factors.
            dirpath: The run folder; the trainer's `default_root_dir` by default.
            use_test_split: Whether to score what is left on the test split, once, at the end.
            report: Whether `report.html` is made at the end.

        Raises:
            ConfigError: A setting is out of range, or there is neither a budget nor `published`.
            ConstraintError: The budget is malformed, or none that a training can be led to.
        """
        self.settings = ShrinkSettings.checked(
            make_constraint(constraint),
            published=published,
            every_n_epochs=every_n_epochs,
            rho=rho,
            threshold=threshold,
            warm_up_epochs=warm_up_epochs,
            least_dead_macs=least_dead_macs,
            reached=reached,
            decay=decay,
        )
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.use_test_split = check_flag("callbacks.shrinking.use_test_split", use_test_split)
        self.report = check_flag("callbacks.shrinking.report", report)
        self.result: SearchResult | None = None
        self._descent: Descent | None = None
        self._steps = self._interval = self._warm_up = 1

    @property
    def constraint(self) -> Constraint:
        """The budget."""
        return self.settings.constraint

    def folder(self, trainer: pl.Trainer) -> Path:
        """The run folder."""
        return self.dirpath or Path(trainer.default_root_dir)

    # Before training

    def check(self, module: SearchableClassifier) -> None:
        """Refuse a space without units, or a budget that shrinking does not come to.

        Raises:
            ConfigError: Nothing counts units, or the network does not share the first ones.
            ConstraintError: The budget is out of reach.
        """
        Descent(module, self.settings)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Cut the module down to the largest network, which it trains.

        Raises:
            ConfigError: The module, the strategy or the order of callbacks does not go.
            ConstraintError: The budget is out of reach.
            DataError: No images are held out of training.
        """
        if not isinstance(pl_module, SearchableClassifier):
            raise ConfigError(
                f"ProgressiveShrinking needs a SearchableClassifier, not {type(pl_module).__name__}"
            )
        if stage != "fit":
            return
        self._check_trainer(trainer)
        self._descent = Descent(pl_module, self.settings)
        for module in (pl_module, *averaged(trainer)):
            self._descent.cut_down(module, self._descent.start)

    def _check_trainer(self, trainer: pl.Trainer) -> None:
        if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
            raise ConfigError(
                f"trainer.strategy: {type(trainer.strategy).__name__} cannot go on with fewer "
                f"parameters; use one device, or ddp"
            )
        callbacks: Sequence[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks[: callbacks.index(self)]:
            if isinstance(callback, _BEHIND):
                raise ConfigError(
                    f"ProgressiveShrinking must stand before {type(callback).__name__} in the list "
                    f"of callbacks"
                )
        if getattr(trainer.datamodule, "train_on", None) == "all":  # type: ignore[attr-defined]
            raise ConfigError(
                "data.train_on=all leaves no image to score what is left on; it is for retraining"
            )
        check_search_split(trainer)

    def fit_to_checkpoint(
        self, trainer: pl.Trainer, module: SearchableClassifier, checkpoint: Mapping[str, Any]
    ) -> None:
        """Cut the module down to what a checkpoint holds, before its weights are loaded.

        Raises:
            CheckpointError: It is of a training that does not shrink.
        """
        found = (checkpoint.get("callbacks") or {}).get(self.state_key)
        if found is None or ENTRY not in checkpoint:
            raise CheckpointError(
                f"checkpoint {trainer.ckpt_path} is of a training that does not shrink"
            )
        descent = self._running()
        descent.state = ShrinkingState.from_dict(found, f"checkpoint {trainer.ckpt_path}")
        space = SearchSpace(checkpoint[ENTRY]["space"])
        for own in (module, *averaged(trainer)):
            descent.cut_down(own, space)

    def _running(self) -> Descent:
        assert self._descent is not None, "setup comes first"
        return self._descent

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to train anew where another training has left its score, or without the gates.

        Raises:
            HistoryError: It has.
            ConfigError: No optimiser trains the gates.
        """
        assert isinstance(pl_module, SearchableClassifier)
        if trainer.ckpt_path is None:
            refuse_old_history(self.folder(trainer))
        if pl_module.penalty is not None:
            check_trained(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """How far shrinking came."""
        state = None if self._descent is None else self._descent.state
        return {} if state is None else state.to_dict()

    # In training

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the updates of the training.

        Raises:
            ConfigError: It has no end, or its epochs are of no known length.
        """
        assert isinstance(pl_module, SearchableClassifier)
        steps, per_epoch = training_length(trainer, pl_module.scheduler_settings)
        if steps is None:
            raise ConfigError(
                "callbacks.shrinking spreads the shrinks over the training, which has no end: set "
                "trainer.max_epochs or trainer.max_steps"
            )
        self._steps = steps
        self._interval = max(round(self.settings.every_n_epochs * per_epoch), 1)
        self._warm_up = round(self.settings.warm_up_epochs * per_epoch)
        if pl_module.penalty is not None:
            self._running().press(pl_module, trainer.global_step, self._warm_up)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Shrink if it is time."""
        assert isinstance(pl_module, SearchableClassifier)
        if pl_module.penalty is None:  # it has ended, and what is left is trained for longer
            return
        descent, step = self._running(), trainer.global_step
        looked_at = descent.begin(pl_module).looked_at
        due = step % self._interval == 0 and looked_at < step < self._steps
        if due:
            self._shrink(trainer, pl_module, steps=self._steps)
            descent.press(pl_module, step, self._warm_up)
        elif self.settings.published:
            descent.warm_up(pl_module, step, self._warm_up)

    def _shrink(self, trainer: pl.Trainer, module: SearchableClassifier, *, steps: int) -> None:
        descent = self._running()
        if descent.shrink(trainer, module, steps=steps) and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write_shrinks(self.folder(trainer), descent.begin(module))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Average the factors behind an update; log what the network costs."""
        assert isinstance(pl_module, SearchableClassifier)
        if pl_module.penalty is None or is_accumulating(trainer):
            return
        if trainer.global_step == 1:
            for optimizer in trainer.optimizers:
                check_moments(optimizer, dict(pl_module.named_parameters()))
        self._running().average(pl_module, trainer.global_step)
        cost = float(self._running().cost(pl_module))
        name = f"train/{self.settings.metric}"
        pl_module.log(name, cost, on_step=False, on_epoch=True, batch_size=1)

    # Behind it

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shrink for the last time, and leave a network without gates."""
        assert isinstance(pl_module, SearchableClassifier)
        if pl_module.penalty is None:  # a training that had ended
            return
        self._shrink(trainer, pl_module, steps=trainer.global_step)
        self._running().begin(pl_module).finished = True
        make_plain(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score what is left, and write it as a search writes its best.

        Raises:
            HistoryError: The folder has the history of another training, or a damaged one.
        """
        assert isinstance(pl_module, SearchableClassifier)
        state = self._running().state
        if trainer.fast_dev_run or state is None or not state.finished:  # type: ignore[attr-defined]
            return
        write_shrinks(self.folder(trainer), state)
        self.result = score_what_is_left(
            trainer,
            pl_module,
            self.folder(trainer),
            constraint=self.constraint,
            use_test_split=self.use_test_split,
            report=self.report,
        )
