"""The callback that turns a trained network into what is shipped: statistics, test score, files."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from vitsearch.data import preprocessing_of
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.distributed import rank_and_world
from vitsearch.lightning.scoring.network_score import score_network
from vitsearch.lightning.scoring.splits import statistics_batches
from vitsearch.lightning.tasks import Score, Task
from vitsearch.lightning.training.network_module import Classifier
from vitsearch.reports import NetworkRow, architecture_panel, make_console, network_table
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format
from vitsearch.runs.layout import MODEL_FOLDER, NETWORK_RESULT_FILE
from vitsearch.supernet import VisionTransformer, save_model


class SaveNetwork(pl.Callback):
    """After training, scores the network on the test split and writes `model/` and `result.json`.

    Its BatchNorm statistics are re-estimated before, by the rule of all scores of this library: on
    unaugmented training images, as one large batch would give them. Running ones are of mixed,
    augmented images, and of one process.

    It works in any `Trainer` that trains a `Classifier`. The test split is that of the data module,
    read once.

    Attributes:
        facts: What else `result.json` should say, by name; plain data.
        compared: Networks to test beside it, by name, such as the same one with the supernet's
            weights.
        score: On the test split, after training.
    """

    def __init__(
        self,
        *,
        dirpath: str | Path | None = None,
        use_test_split: bool = True,
    ) -> None:
        """Set where.

        Args:
            dirpath: The run folder; the trainer's `default_root_dir` by default.
            use_test_split: Whether to score on the test split, once and at the very end.

        Raises:
            ConfigError: `use_test_split` is neither true nor false.
        """
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.use_test_split = check_flag("use_test_split", use_test_split)
        self.facts: Mapping[str, Any] = {}
        self.compared: Mapping[str, VisionTransformer] = {}
        self.score: Score | None = None
        self._seconds = 0.0  # of training, in earlier starts
        self._started: float | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse other modules before training.

        Raises:
            ConfigError: The module is no `Classifier`.
        """
        if not isinstance(pl_module, Classifier):
            raise ConfigError(f"SaveNetwork needs a Classifier, not {type(pl_module).__name__}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._seconds, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """How long the network has trained, before interruptions too."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self._seconds + running

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"seconds": self.seconds, "facts": dict(self.facts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting; what was true when training began stays so."""
        self._seconds = float(state_dict["seconds"])
        self.facts = {**self.facts, **state_dict["facts"]}

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Estimate, score, write, print."""
        assert isinstance(pl_module, Classifier)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        network, task = pl_module.net, pl_module.task.detailed()
        own = self._finish(trainer, task, network)
        scores = {name: self._finish(trainer, task, net) for name, net in self.compared.items()}
        compared = {name: score for name, score in scores.items() if score is not None}
        self.score = own
        if own is not None:
            metrics = {f"test/{name}": value for name, value in own.figures.items()}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)
        if rank_and_world()[0] == 0:
            self._write(trainer, network, own, compared)
            self._print(network, task, own, compared)

    def _finish(self, trainer: pl.Trainer, task: Task, network: VisionTransformer) -> Score | None:
        """Estimate statistics; the score, if there is a test split to be read."""
        device = trainer.strategy.root_device  # the trainer has moved the network to the CPU
        autocast = trainer.precision_plugin.forward_context
        network.to(device)
        if network.has_batch_norm:
            with autocast():
                dtype = next(network.parameters()).dtype
                batches = [images.to(device, dtype) for images in statistics_batches(trainer)]
                network.reestimate_statistics(batches)
        loader_of = getattr(trainer.datamodule, "test_dataloader", None)  # type: ignore[attr-defined]
        if loader_of is None or not self.use_test_split:
            return None
        return score_network(task, network, loader_of(), device=device, autocast=autocast)

    def folder(self, trainer: pl.Trainer) -> Path:
        """The run folder."""
        return self.dirpath or Path(trainer.default_root_dir)

    def _write(
        self,
        trainer: pl.Trainer,
        network: VisionTransformer,
        own: Score | None,
        compared: Mapping[str, Score],
    ) -> None:
        folder, data = self.folder(trainer), trainer.datamodule  # type: ignore[attr-defined]
        shipped = copy.deepcopy(network).cpu().float().eval()
        shipped.head_patch = None  # for training alone
        names = getattr(data, "class_names", None) or None
        shipped.set_preprocessing(preprocessing_of(data))
        save_model(shipped, folder / MODEL_FOLDER, class_names=names)
        cost = shipped.cost()
        validation = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        write_json(
            folder / NETWORK_RESULT_FILE,
            with_format(
                {
                    "digest": network.architecture.digest,
                    "space": network.space.name,
                    "image_size": network.space.image_size,
                    "in_chans": network.space.in_chans,
                    "num_classes": network.num_classes,
                    **cost.to_dict(),
                    **self.facts,
                    "test": None if own is None else own.record(),
                    "compared": {name: score.record() for name, score in compared.items()},
                    "validation": validation or None,
                    "epochs": trainer.current_epoch,
                    "steps": trainer.global_step,
                    "processes": trainer.world_size,
                    "training_seconds": round(self.seconds, 3),
                }
            ),
        )

    def _print(
        self,
        network: VisionTransformer,
        task: Task,
        own: Score | None,
        compared: Mapping[str, Score],
    ) -> None:
        console = make_console()
        title = f"architecture {network.architecture.digest}"
        console.print(architecture_panel(network.space, network.architecture, title=title))
        if own is None:
            return
        rows = [
            NetworkRow(name=name, cost=network.cost(), figures=score.figures)
            for name, score in {**compared, "retrained": own}.items()
        ]
        console.print(network_table(rows, task.figures, own.total))
