"""A training that goes on from any of its checkpoints ends like one that was never interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor

import vitsearch
from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionMini
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.lightning import (
    MultiArchitectureSampling,
    SearchableClassifier,
    SupernetCheckpoint,
)
from vitsearch.lightning.resuming.metrics_csv import MetricsFile
from vitsearch.samplers import SandwichSampler
from vitsearch.spaces import SearchSpace

EVERYTHING_RANDOM: dict[str, Any] = {
    "mixup": 0.4,
    "cutmix": 1.0,
    "drop_path_rate": 0.3,
    "label_smoothing": 0.1,
    "optimizer": {"opt": "adamw", "lr": 3e-3},
    "scheduler": {"sched": "cosine", "warmup_epochs": 1, "min_lr": 1e-5},
}


class KeepAll(SupernetCheckpoint):
    """Keeps a copy of every checkpoint that it writes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.copies: list[Path] = []

    def _write(self, trainer: pl.Trainer, **settings: Any) -> None:
        super()._write(trainer, **settings)
        copy = self.path(trainer).with_name(f"{len(self.copies)}.copy")
        shutil.copy(self.path(trainer), copy)
        self.copies.append(copy)


class Draws(pl.Callback):
    """Notes what the next draws of every generator would be, before each step."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[float, float]] = {}

    def on_before_zero_grad(self, trainer: pl.Trainer, *_: object) -> None:
        drawn = torch.get_rng_state().sum().item(), float(np.random.get_state()[1][:8].sum())  # type: ignore[index]
        self.seen[trainer.fit_loop.total_batch_idx] = drawn


def fit(
    folder: Path,
    space: SearchSpace,
    *,
    resume: Path | None = None,
    ema: bool = False,
    every_n_steps: int = 1,
    **settings: Any,
) -> tuple[SearchableClassifier, KeepAll, Draws]:
    pl.seed_everything(5)
    data = FashionMini(batch_size=8, eval_batch_size=50, search_per_class=2, statistics_images=20)
    module = SearchableClassifier(space, 10, **EVERYTHING_RANDOM)
    keep = KeepAll(every_n_steps=every_n_steps)
    draws = Draws()
    averaging = [EMAWeightAveraging(decay=0.7)] if ema else []
    trainer = quiet_trainer(
        folder,
        callbacks=[MultiArchitectureSampling(2, SandwichSampler()), keep, draws, *averaging],
        logger=MetricsFile(folder, name="", version=""),
        **{"max_epochs": 2, "limit_train_batches": 3, "log_every_n_steps": 1, **settings},
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module, keep, draws


def assert_equal(one: SearchableClassifier, other: SearchableClassifier) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def states(path: Path) -> list[Tensor]:
    """Every tensor of the optimiser in a checkpoint."""
    (optimizer,) = torch.load(path, weights_only=True)["optimizer_states"]
    return [t for s in optimizer["state"].values() for t in s.values() if torch.is_tensor(t)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"check_val_every_n_epoch": 2, "limit_train_batches": 2, "max_epochs": 3},
        {"ema": True},
        {"accumulate_grad_batches": 2, "limit_train_batches": 5},
        {"max_steps": 5},
        {"val_check_interval": 2, "limit_train_batches": 4},
        {"every_n_steps": 3, "limit_train_batches": 1, "max_epochs": 4},
        {"check_val_every_n_epoch": None, "val_check_interval": 3, "limit_train_batches": 2},
    ],
    ids=str,
)
def test_every_checkpoint_leads_to_the_same_end(
    settings: dict[str, Any], space: SearchSpace, tmp_path: Path
) -> None:
    expected, keep, draws = fit(tmp_path / "straight", space, **settings)
    metrics = (tmp_path / "straight" / "metrics.csv").read_bytes()
    assert len(keep.copies) >= 3
    for number, copy in enumerate(keep.copies):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(tmp_path / "straight" / "metrics.csv", folder)
        module, again, drawn = fit(folder, space, resume=copy, **settings)
        assert_equal(module, expected)
        if again.copies:  # the last checkpoint has nothing left to train
            assert len(again.copies) == len(keep.copies) - number - 1
            assert (folder / "metrics.csv").read_bytes() == metrics, number
            for a, b in zip(states(keep.copies[-1]), states(again.copies[-1]), strict=True):
                assert torch.equal(a, b)
        assert drawn.seen.items() <= draws.seen.items()
        loaded = vitsearch.load_supernet(copy)  # in the middle, too
        assert sum(1 for _ in loaded.parameters()) == sum(1 for _ in module.net.parameters())


def test_a_stop_by_a_callback_is_final_but_more_epochs_are_not(
    space: SearchSpace, tmp_path: Path
) -> None:
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            trainer.should_stop = trainer.global_step == 5

    def run(folder: Path, epochs: int, resume: Path | None = None) -> pl.Trainer:
        pl.seed_everything(0)
        module = SearchableClassifier(space, 10)
        callbacks = [SupernetCheckpoint(), *([Stop()] if epochs == 3 else [])]  # 4 goes on
        trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=callbacks)
        data = FashionMini(batch_size=8, search_per_class=2, statistics_images=20)
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return trainer

    assert run(tmp_path, 3).global_step == 5
    assert run(tmp_path, 3, tmp_path / "supernet.ckpt").global_step == 5
    assert run(tmp_path, 4, tmp_path / "supernet.ckpt").global_step > 5


def test_checkpoints_come_by_the_clock_and_are_whole_at_any_time(
    space: SearchSpace, tmp_path: Path
) -> None:
    _, keep, _ = fit(tmp_path, space, every_n_steps=10**6, max_epochs=1)
    assert len(keep.copies) == 1  # a minute is not over
    keep = KeepAll(every_n_seconds=1e-9)
    module = SearchableClassifier(space, 10)
    data = FashionMini(batch_size=8, search_per_class=2, statistics_images=20)
    quiet_trainer(tmp_path, limit_train_batches=4, callbacks=[keep]).fit(module, datamodule=data)
    assert 2 <= len(keep.copies) <= 4
    assert not [path for path in tmp_path.rglob("*") if "tmp" in path.name]


@pytest.mark.parametrize("name", ["every_n_epochs", "every_n_seconds", "every_n_steps"])
def test_settings_out_of_range_name_themselves(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=0 must be above 0"):
        SupernetCheckpoint(**{name: 0})


def test_another_number_of_processes_is_refused_in_the_middle_only(
    space: SearchSpace, tmp_path: Path
) -> None:
    _, keep, _ = fit(tmp_path, space, max_epochs=1)
    for copy, refused in ((keep.copies[0], True), (keep.copies[-1], False)):
        checkpoint = torch.load(copy, weights_only=True)
        checkpoint["vitsearch_training"]["processes"] *= 2
        torch.save(checkpoint, tmp_path / "two.ckpt")
        if refused:
            with pytest.raises(CheckpointError, match=r"with 2 process\(es\).* not with 1"):
                fit(tmp_path, space, resume=tmp_path / "two.ckpt", max_epochs=1)
        else:
            fit(tmp_path, space, resume=tmp_path / "two.ckpt", max_epochs=1)


def test_a_checkpoint_of_lightning_s_own_is_taken_too(space: SearchSpace, tmp_path: Path) -> None:
    pl.seed_everything(0)
    module = SearchableClassifier(space, 10, **EVERYTHING_RANDOM)
    trainer = quiet_trainer(tmp_path)
    data = FashionMini(batch_size=8, search_per_class=2, statistics_images=20)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    module, _, _ = fit(tmp_path / "on", space, resume=tmp_path / "own.ckpt", max_epochs=2)
    assert module.trainer.global_step == 3 + 3
