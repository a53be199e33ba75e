"""Small trainings that shrink, for the tests of progressive shrinking."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging

from tests.lightning.conftest import QUIET
from vitsearch.data import FashionMini
from vitsearch.lightning import ProgressiveShrinking, SearchableClassifier, SupernetCheckpoint
from vitsearch.lightning.resuming.metrics_csv import MetricsFile
from vitsearch.spaces import SearchSpace, build_space

SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "glit": ("glit", {"num_blocks": 2, "embed_dims": [24]}),
    "vit_resnas": ("vit_resnas", {"num_blocks": [1, 1, 1], "skippable": None}),
    "autoformer": ("autoformer", {"num_blocks": 2, "depths": [2]}),
    "hr_nas": (
        "hr_nas",
        {
            "body.branches": [[6], [4, 6]],
            "body.blocks": [[1], [1, 1]],
            "body.widen": [6, 8],
            "body.features": 12,
            "stem.width": 6,
            "block.kernel_sizes": [3, 5],
            "block.step": 2,
            "block.num_tokens": [0, 2, 4],
        },
    ),
}
WINDOWS = {
    "glit": (0.72, 0.8),
    "vit_resnas": (0.68, 0.75),
    "autoformer": (0.63, 0.7),
    "hr_nas": (0.3, 0.34),
}


class KeepAll(SupernetCheckpoint):
    """Keeps a copy of every checkpoint that it writes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.copies: list[Path] = []

    def _write(self, trainer: pl.Trainer, **settings: Any) -> None:
        super()._write(trainer, **settings)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        copy = self.path(trainer).with_name(f"{len(self.copies)}.copy")
        shutil.copy(self.path(trainer), copy)
        self.copies.append(copy)


def small_space(name: str) -> SearchSpace:
    base, settings = SPACES[name]
    return build_space(base, **settings)


def window(name: str, num_classes: int = 10) -> list[float]:
    """A budget that a small space comes to."""
    space = small_space(name)
    most = space.plan(space.largest()).cost(num_classes).macs
    return [share * most for share in WINDOWS[name]]


def fit(
    folder: Path,
    name: str = "autoformer",
    *,
    resume: Path | None = None,
    ema: bool = False,
    before: tuple[pl.Callback, ...] = (),
    shrinking: dict[str, Any] | None = None,
    optimizer: dict[str, Any] | None = None,
    drop_path: float = 0.2,
    **settings: Any,
) -> tuple[SearchableClassifier, ProgressiveShrinking, KeepAll]:
    """Train, shrink, score; by default two epochs of four steps, a shrink every second one."""
    pl.seed_everything(5)
    data = FashionMini(batch_size=8, eval_batch_size=50, search_per_class=3, statistics_images=20)
    module = SearchableClassifier(
        small_space(name),
        10,
        optimizer=optimizer or {"opt": "adamw", "lr": 3e-3},
        scheduler={"sched": "cosine", "warmup_epochs": 1, "min_lr": 1e-5},
        drop_path_rate=drop_path,
    )
    asked = {"every_n_epochs": 0.5, "report": False, **(shrinking or {})}
    if not asked.get("published"):
        asked.setdefault("constraint", {"macs": window(name)})
    shrink, keep = ProgressiveShrinking(**asked), KeepAll(every_n_steps=1)
    averaging = [EMAWeightAveraging(decay=0.7)] if ema else []
    given = {"max_epochs": 2, "limit_train_batches": 4, "log_every_n_steps": 1, **settings}
    trainer = pl.Trainer(
        **{
            **QUIET,
            "callbacks": [*before, shrink, *averaging, keep],
            "logger": MetricsFile(folder, name="", version=""),
            "default_root_dir": str(folder),
            **given,
        }
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module, shrink, keep
