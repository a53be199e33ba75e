"""Learning rates: what timm's schedule says, over exactly the training that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from timm.scheduler import (
    CosineLRScheduler,
    MultiStepLRScheduler,
    PolyLRScheduler,
    StepLRScheduler,
    TanhLRScheduler,
)
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests.lightning.conftest import QUIET
from vitsearch import VisionTransformer, build_space
from vitsearch.errors import ConfigError
from vitsearch.lightning import Classifier, SearchableClassifier
from vitsearch.lightning.training.optimizers import (
    check_length,
    check_optimizer,
    make_optimizers,
    make_schedule,
    step_schedule,
    with_rate,
)

RATE = 0.5
BATCHES = 6  # of the loader
COMMON = {"warmup_epochs": 1, "warmup_lr": 0.01}


class Line(pl.LightningModule):
    """The smallest module that trains by the schedules; it remembers each step's rate."""

    def __init__(self, scheduler: Mapping[str, Any]) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.scheduler = scheduler
        self.rates: list[float] = []

    def configure_optimizers(self) -> Any:
        return make_optimizers(self.net, self.trainer, {"opt": "sgd", "lr": RATE}, self.scheduler)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        step_schedule(self, scheduler, metric)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        return self.net(batch[0]).square().mean() * 1e-6

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
        self.rates.append(rate(self.trainer))
        super().optimizer_step(epoch, batch_idx, optimizer, closure)


class SaveAt(pl.Callback):
    def __init__(self, file: Path, batches: int) -> None:
        self.file, self.left = file, batches

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.file)


def rate(trainer: pl.Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(BATCHES, 1)), batch_size=1)


def train(folder: Path, scheduler: Mapping[str, Any], **settings: Any) -> tuple[Line, pl.Trainer]:
    resumed = settings.pop("resumed", None)
    trainer = pl.Trainer(**QUIET, default_root_dir=str(folder), **settings)
    module = Line(scheduler)
    trainer.fit(module, loader(), ckpt_path=resumed, weights_only=True)
    return module, trainer


# What timm itself makes of the same settings, in updates.
Make = Callable[[torch.optim.Optimizer, int, int], Scheduler]
TIMM: dict[str, tuple[dict[str, Any], Make]] = {
    "cosine": (
        {"min_lr": 0.1},
        lambda o, n, epoch: CosineLRScheduler(o, t_initial=n, lr_min=0.1, **warm(epoch)),
    ),
    "tanh": (
        {"min_lr": 0.1},
        lambda o, n, epoch: TanhLRScheduler(o, t_initial=n, lr_min=0.1, **warm(epoch)),
    ),
    "poly": (
        {"min_lr": 0.1, "decay_rate": 2.0},
        lambda o, n, epoch: PolyLRScheduler(o, t_initial=n, power=2.0, lr_min=0.1, **warm(epoch)),
    ),
    "step": (
        {"decay_epochs": 1, "decay_rate": 0.5},
        lambda o, n, epoch: StepLRScheduler(o, decay_t=epoch, decay_rate=0.5, **warm(epoch)),
    ),
    "multistep": (
        {"decay_milestones": [1, 2], "decay_rate": 0.5},
        lambda o, n, epoch: MultiStepLRScheduler(
            o, decay_t=[epoch, 2 * epoch], decay_rate=0.5, **warm(epoch)
        ),
    ),
}
# Settings of the trainer, updates in all, updates in an epoch.
LENGTHS: list[tuple[dict[str, Any], int, int]] = [
    ({"max_epochs": 3}, 18, 6),
    ({"max_epochs": -1, "max_steps": 14}, 14, 6),
    ({"max_steps": 14}, 14, 6),
    ({"max_epochs": 50, "max_steps": 14}, 14, 6),
    ({"max_epochs": 2, "max_steps": 50}, 12, 6),
    ({"max_epochs": 3, "limit_train_batches": 5, "accumulate_grad_batches": 2}, 9, 3),
    ({"max_epochs": -1, "max_steps": 7, "accumulate_grad_batches": 4}, 7, 2),
    ({"max_epochs": 4, "limit_train_batches": 0.5}, 12, 3),
]


def warm(epoch: int) -> dict[str, Any]:
    return {
        "warmup_t": epoch,
        "warmup_lr_init": 0.01,
        "warmup_prefix": False,
        "t_in_epochs": False,
    }


def by_timm(name: str, updates: int, epoch: int) -> list[float]:
    """The rate before the first update, and after each."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = TIMM[name][1](optimizer, updates, epoch)
    rates = [optimizer.param_groups[0]["lr"]]
    for number in range(1, updates + 1):
        schedule.step_update(number)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(("settings", "updates", "epoch"), LENGTHS)
@pytest.mark.parametrize("name", list(TIMM))
def test_rates_are_timm_s(
    name: str, settings: dict[str, Any], updates: int, epoch: int, tmp_path: Path
) -> None:
    module, trainer = train(tmp_path, {"sched": name, **COMMON, **TIMM[name][0]}, **settings)
    expected = by_timm(name, updates, epoch)
    assert trainer.global_step == updates
    assert module.rates == pytest.approx(expected[:-1], rel=1e-12)
    assert rate(trainer) == pytest.approx(expected[-1], rel=1e-12)
    if name in ("cosine", "poly"):
        assert rate(trainer) == pytest.approx(0.1)


@pytest.mark.parametrize("settings", [LENGTHS[1][0], LENGTHS[5][0]])
@pytest.mark.parametrize("name", list(TIMM))
def test_a_resumed_training_goes_on_at_the_same_rates(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    scheduler = {"sched": name, **COMMON, **TIMM[name][0]}
    file = tmp_path / "in between.ckpt"
    straight, _ = train(tmp_path, scheduler, **settings, callbacks=[SaveAt(file, 8)])
    resumed, trainer = train(tmp_path, scheduler, **settings, resumed=file)
    done = len(straight.rates) - len(resumed.rates)
    assert 0 < done < len(straight.rates)
    assert resumed.rates == straight.rates[done:]
    assert trainer.global_step == len(straight.rates)


@pytest.mark.parametrize("scheduler", [{}, {"sched": "none"}])
def test_no_schedule(scheduler: dict[str, Any], tmp_path: Path) -> None:
    module, _ = train(tmp_path, scheduler, max_epochs=-1, max_steps=8)
    assert module.rates == [RATE] * 8


@pytest.mark.parametrize(
    ("around", "own"),
    [
        ({"cooldown_epochs": 2}, 24),
        ({"warmup_epochs": 2, "warmup_prefix": True}, 24),
        ({"cycle_limit": 3}, 12),
        ({"cycle_limit": 2, "cycle_mul": 2.0, "cooldown_epochs": 1}, 10),
    ],
)
def test_what_is_around_a_schedule_is_part_of_the_training(
    around: dict[str, Any], own: int
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = make_schedule(optimizer, {**around}, num_updates=36, updates_per_epoch=6)
    assert schedule.t_initial == own
    whole = schedule.get_cycle_length() + 6 * around.get("cooldown_epochs", 0)
    assert whole == 36
    schedule.step_update(36 - 6 * around.get("cooldown_epochs", 0))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_a_schedule_of_steps_needs_no_end() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    settings = {"sched": "step", "decay_epochs": 10, "decay_rate": 0.5}
    schedule = make_schedule(optimizer, settings, num_updates=None, updates_per_epoch=6)
    schedule.step_update(120)
    assert optimizer.param_groups[0]["lr"] == RATE / 4


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        while True:
            yield torch.ones(1)


def test_schedules_that_do_not_fit(tmp_path: Path) -> None:
    cosine = {"sched": "cosine", "warmup_epochs": 1}
    with pytest.raises(ConfigError, match=r"sched=cosine.* no end: set trainer.max_epochs"):
        train(tmp_path, cosine, max_epochs=-1)
    with pytest.raises(ConfigError, match=r"cooldown_epochs=3.* leave nothing of .* 12 updates"):
        train(tmp_path, {**cosine, "cooldown_epochs": 3}, max_epochs=2)
    accumulation = GradientAccumulationScheduler({0: 2, 1: 4})
    with pytest.raises(ConfigError, match=r"use trainer.accumulate_grad_batches"):
        train(tmp_path, cosine, max_epochs=2, callbacks=[accumulation])
    trainer = pl.Trainer(**QUIET, default_root_dir=str(tmp_path), max_epochs=1)
    with pytest.raises(ConfigError, match=r"set trainer.limit_train_batches to a number"):
        trainer.fit(Line(cosine), DataLoader(Endless()))
    with pytest.raises(ConfigError, match="sched=plateau: plateau waits for a metric"):
        check_optimizer({"opt": "sgd", "lr": 0.1}, {"sched": "plateau"})
    for limits, settings in (
        ({"max_epochs": -1}, cosine),
        ({"max_epochs": 3}, {**cosine, "cooldown_epochs": 3}),
    ):
        with pytest.raises(ConfigError, match=r"scheduler\.sched=cosine"):
            check_length(pl.Trainer(**QUIET, **limits), settings)
    check_length(pl.Trainer(**QUIET, max_epochs=-1), {"sched": "step"})
    check_length(pl.Trainer(**QUIET, max_epochs=-1, max_steps=5), cosine)


def test_schedules_that_need_a_long_training_pass_the_first_check() -> None:
    pytest.importorskip("timm.scheduler.wsd_lr")
    check_optimizer({"opt": "sgd", "lr": 0.1}, {"sched": "wsd", "warmup_epochs": 5})
    with pytest.raises(ConfigError, match="wsd schedule requires"):
        check_length(pl.Trainer(**QUIET, max_epochs=5), {"sched": "wsd", "warmup_epochs": 5})


@pytest.mark.parametrize(("width", "rate"), [(32, 0.003), (64, 0.003), (192, 0.001), (384, 0.0005)])
def test_wide_networks_learn_slower_if_asked(width: int, rate: float) -> None:
    assert with_rate({"opt": "adamw", "lr": "auto"}, width) == {"opt": "adamw", "lr": rate}
    assert with_rate({"opt": "sgd", "lr": 0.1}, width) == {"opt": "sgd", "lr": 0.1}
    assert with_rate({"opt": "adamw"}, width) == {"opt": "adamw"}


def test_a_module_learns_as_fast_as_its_width_allows() -> None:
    space = build_space("vit_resnas")
    asked = {"opt": "adamw", "lr": "auto"}
    assert SearchableClassifier(space, 10, optimizer=asked).optimizer_settings["lr"] == 0.001
    narrow = VisionTransformer(space, space.smallest(), 10)
    assert Classifier(narrow, optimizer=asked).optimizer_settings["lr"] == 0.0015
