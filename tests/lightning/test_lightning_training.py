from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

import vitsearch
from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, NonFiniteLossError
from vitsearch.lightning import (
    MultiArchitectureSampling,
    SearchableClassifier,
    SupernetCheckpoint,
)
from vitsearch.samplers import SandwichSampler, UniformSampler
from vitsearch.spaces import Architecture, SearchSpace


class Watch(pl.Callback):
    """Notes what each step trains, and what is left of it afterwards."""

    def __init__(self) -> None:
        self.steps: list[list[Architecture]] = []
        self.afterwards: list[Any] = []

    def on_before_zero_grad(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        if pl_module.step_architectures is not None:
            self.steps.append(list(pl_module.step_architectures))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.afterwards.append(pl_module.step_architectures)


def test_sampling_names_the_architectures_of_every_step_and_clears_them(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    watch = Watch()
    sampler = UniformSampler(seed=5)
    trainer = quiet_trainer(
        tmp_path, max_epochs=2, callbacks=[MultiArchitectureSampling(4, sampler), watch]
    )
    trainer.fit(module, datamodule=data)
    expected = [
        sampler.sample(module.space, num_architectures=4, step=step, rank=0) for step in range(6)
    ]
    assert watch.steps == expected
    assert watch.afterwards == [None, None]


def test_without_the_callback_the_largest_network_trains(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    quiet_trainer(tmp_path).fit(module, datamodule=data)
    assert any(not torch.equal(before[name], p) for name, p in module.named_parameters())


def test_validation_logs_smallest_largest_and_random_on_the_search_split(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling()])
    trainer.fit(module, datamodule=data)
    for name in ("smallest", "largest", "random"):
        top1 = trainer.callback_metrics[f"val/top1_{name}"].item()
        assert round(top1 * 100, 4) == round(top1 * 100)  # exact counts over 100 images
    assert module.references["smallest"] == module.space.smallest()
    assert module.references["largest"] == module.space.largest()


@pytest.mark.parametrize(
    "settings",
    [
        {"label_smoothing": 0.1, "drop_path_rate": 0.2, "zero_init_residual": True},
        {"mixup": 0.3, "cutmix": 1.0, "label_smoothing": 0.1},
        {"optimizer": {"opt": "lamb", "lr": 1e-3}, "scheduler": {}},
        {"optimizer": {"opt": "sgd", "lr": 0.1, "momentum": 0.9}},
        {"scheduler": {"sched": "step", "decay_epochs": 1, "decay_rate": 0.5}},
    ],
)
def test_every_option_trains(
    settings: dict[str, Any], space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    module = SearchableClassifier(space, 10, **settings)
    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(2, SandwichSampler())])
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 3
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_schedule_warms_up_and_decays_by_steps(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    rates: list[float] = []

    class Rates(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    module.scheduler_settings = {"sched": "cosine", "warmup_epochs": 1, "warmup_lr": 0.0}
    trainer = quiet_trainer(tmp_path, max_epochs=4, limit_train_batches=5, callbacks=[Rates()])
    trainer.fit(module, datamodule=data)
    peak = rates.index(max(rates))
    assert 3 <= peak <= 6
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.1 * max(rates)


def test_vectors_and_embeddings_have_no_weight_decay(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    trainer = quiet_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(module, datamodule=data)
    decayed = {
        id(p) for g in trainer.optimizers[0].param_groups if g["weight_decay"] for p in g["params"]
    }
    for name, parameter in module.net.named_parameters():
        plain = parameter.dim() > 1 and not name.endswith(("pos_embed", "cls_token"))
        assert (id(parameter) in decayed) == plain, name


def test_a_subclass_brings_its_own_loss(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    class Halved(SearchableClassifier):
        def __init__(self, space: Any, num_classes: int, *, share: float = 0.5, **rest: Any):
            super().__init__(space, num_classes, **rest)
            self.share = share
            self.calls = 0

        def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
            self.calls += 1
            return self.share * super().compute_loss(logits, targets)

    module = Halved(space, 10, share=0.25)
    checkpoint = SupernetCheckpoint()
    quiet_trainer(tmp_path, callbacks=[checkpoint]).fit(module, datamodule=data)
    assert module.calls == 3
    again = Halved.load_from_checkpoint(tmp_path / "supernet.ckpt", weights_only=True)
    assert again.share == 0.25
    assert again.space == space


def test_checkpoint_is_plain_data_and_gives_the_supernet_back(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(), SupernetCheckpoint()])
    trainer.fit(module, datamodule=data)
    assert [path.name for path in tmp_path.iterdir()] == ["supernet.ckpt"]
    torch.load(tmp_path / "supernet.ckpt", weights_only=True)
    net = vitsearch.load_supernet(tmp_path)
    images = torch.randn(4, 1, 28, 28)
    architecture = module.references["random"]
    module.eval()
    assert torch.equal(net(images, architecture), module(images, architecture))
    again = SearchableClassifier.load_from_checkpoint(tmp_path / "supernet.ckpt", weights_only=True)
    assert again.space == module.space


def test_training_goes_on_from_a_checkpoint_with_the_same_architectures(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    def run(folder: Path, epochs: int, resume: Path | None) -> tuple[Watch, SearchableClassifier]:
        pl.seed_everything(0)
        module = SearchableClassifier(space, 10, scheduler={})
        watch = Watch()
        trainer = quiet_trainer(
            folder,
            max_epochs=epochs,
            callbacks=[MultiArchitectureSampling(2), SupernetCheckpoint(), watch],
        )
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return watch, module

    straight, expected = run(tmp_path / "a", 2, None)
    run(tmp_path / "b", 1, None)
    resumed, module = run(tmp_path / "b", 2, tmp_path / "b" / "supernet.ckpt")
    assert resumed.steps == straight.steps[3:]
    for (name, a), b in zip(
        expected.state_dict().items(), module.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


def test_ema_is_what_is_searched_and_saved(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    from pytorch_lightning.callbacks import EMAWeightAveraging

    trainer = quiet_trainer(
        tmp_path,
        callbacks=[
            MultiArchitectureSampling(),
            EMAWeightAveraging(decay=0.5),
            SupernetCheckpoint(),
        ],
    )
    trainer.fit(module, datamodule=data)
    net = vitsearch.load_supernet(tmp_path)
    for (name, saved), own in zip(net.named_parameters(), module.net.parameters(), strict=True):
        assert torch.equal(saved, own), name


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_last_checkpoint(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    class Breaks(SearchableClassifier):
        def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
            loss = super().compute_loss(logits, targets)
            return loss * float("nan") if self.trainer.global_step == 4 else loss

    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[SupernetCheckpoint()])
    with pytest.raises(NonFiniteLossError, match="step 4") as caught:
        trainer.fit(Breaks(space, 10), datamodule=data)
    assert "\n" not in str(caught.value)
    checkpoint = torch.load(tmp_path / "supernet.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    assert all(torch.isfinite(p).all() for p in vitsearch.load_supernet(tmp_path).parameters())


@pytest.mark.parametrize(
    ("batch_size", "num", "words"),
    [(2, 4, "batch_size=2 is smaller than num_architectures=4"), (6, 4, "cannot be shared evenly")],
)
def test_a_batch_that_cannot_be_shared_is_refused_before_the_first_step(
    batch_size: int, num: int, words: str, module: SearchableClassifier, tmp_path: Path
) -> None:
    data = FashionMini(batch_size=batch_size, search_per_class=10)
    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(num)])
    with pytest.raises(ConfigError, match=words):
        trainer.fit(module, datamodule=data)
    assert trainer.global_step == 0


def test_callbacks_need_a_searchable_module(data: FashionMini, tmp_path: Path) -> None:
    class Other(pl.LightningModule):
        pass

    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling()])
    with pytest.raises(ConfigError, match="SearchableClassifier, not Other"):
        trainer.callbacks[0].setup(trainer, Other(), "fit")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_classes": 1}, "num_classes=1"),
        ({"num_classes": 10, "label_smoothing": 1.5}, "label_smoothing=1.5"),
        ({"num_classes": 10, "drop_path_rate": -0.1}, "drop_path_rate=-0.1"),
    ],
)
def test_settings_out_of_range_name_themselves(
    settings: dict[str, Any], words: str, space: SearchSpace
) -> None:
    with pytest.raises(ConfigError, match=words):
        SearchableClassifier(space, **settings)
