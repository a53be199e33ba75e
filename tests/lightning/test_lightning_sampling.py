"""What the sampling callback trains: shares or whole batches, warmed up, with any sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.lightning import MultiArchitectureSampling, SearchableClassifier, SupernetCheckpoint
from vitsearch.samplers import (
    BalancedSampler,
    BucketSampler,
    IdentitySampler,
    SandwichSampler,
    UniformSampler,
    warm_up_space,
)
from vitsearch.samplers.identity import _searched
from vitsearch.spaces import Architecture, SearchSpace, build_space

TINY = {
    "glit": build_space("glit", num_blocks=2, embed_dims=[24]),
    "vitas": build_space(
        "vitas", image_size=28, patch_sizes=[4, 7], num_blocks=2, embed_dims=[12, 24]
    ),
    "vit_resnas": build_space("vit_resnas"),
}


class Watch(pl.Callback):
    """Notes what each step trains, and on how many images."""

    def __init__(self) -> None:
        self.steps: list[list[Architecture]] = []
        self.whole: list[bool] = []

    def on_before_zero_grad(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        if pl_module.step_architectures is not None:
            self.steps.append(list(pl_module.step_architectures))
            self.whole.append(pl_module.step_whole_batch)


def gradients(module: SearchableClassifier) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in module.net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["glit", "vitas"])
@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}])
def test_whole_batches_train_by_the_mean_of_the_single_gradients(
    name: str, settings: dict[str, float]
) -> None:
    pl.seed_everything(0)
    module = SearchableClassifier(TINY[name], 10, **settings).double()
    count = 3
    architectures = UniformSampler().sample(TINY[name], num_architectures=count, step=0)
    batch = torch.randn(5, 1, 28, 28, dtype=torch.float64), torch.randint(10, (5,))
    module.step_architectures, module.step_whole_batch = architectures, True
    module.training_step(batch, 0).backward()
    found = gradients(module)
    module.zero_grad()
    module.step_whole_batch = False
    for architecture in architectures:
        module.step_architectures = [architecture]
        (module.training_step(batch, 0) / count).backward()
    expected = gradients(module)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert (found[key] - gradient).abs().max() < 1e-12, key


def test_whole_batches_of_soft_targets() -> None:
    pl.seed_everything(0)
    module = SearchableClassifier(TINY["glit"], 10, mixup=0.5, cutmix=1.0)
    seen: list[tuple[torch.Size, torch.Size]] = []
    losses = module.compute_loss

    def watched(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append((logits.shape, targets.shape))
        assert torch.equal(targets[:4], targets[4:])  # mixed once, the same for all
        return losses(logits, targets)

    module.compute_loss = watched  # type: ignore[method-assign]
    module.step_architectures = [TINY["glit"].smallest(), TINY["glit"].largest()]
    module.step_whole_batch = True
    module.training_step((torch.randn(4, 1, 28, 28), torch.randint(10, (4,))), 0).backward()
    assert seen == [((8, 10), (8, 10))]


def test_whole_batches_in_a_run(
    module: SearchableClassifier, data: FashionMini, tmp_path: Path
) -> None:
    watch = Watch()
    sampling = MultiArchitectureSampling(3, SandwichSampler(), whole_batch=True)  # 16 images
    quiet_trainer(tmp_path, callbacks=[sampling, watch]).fit(module, datamodule=data)
    assert watch.whole == [True] * 3
    assert all(len(step) == 3 for step in watch.steps)
    assert module.step_whole_batch is False


SAMPLERS: dict[str, tuple[Any, str]] = {
    "uniform": (UniformSampler(), "glit"),
    "sandwich": (SandwichSampler(), "glit"),
    "balanced": (BalancedSampler(), "vit_resnas"),
    "bucket": (BucketSampler(), "vitas"),
    "identity": (IdentitySampler(identity_probability=0.5, sampler=BalancedSampler()), "vitas"),
}


@pytest.mark.parametrize("whole_batch", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_trains(
    name: str, whole_batch: bool, data: FashionMini, tmp_path: Path
) -> None:
    sampler, space = SAMPLERS[name]
    module, watch = SearchableClassifier(TINY[space], 10), Watch()
    sampling = MultiArchitectureSampling(
        2, sampler, whole_batch=whole_batch, warm_up_epochs=2, warm_up_choices=None
    )
    trainer = quiet_trainer(
        tmp_path, max_epochs=3, limit_train_batches=2, callbacks=[sampling, watch]
    )
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 6
    assert all(torch.isfinite(p).all() for p in module.parameters())
    for step, architectures in enumerate(watch.steps):
        part = warm_up_space(TINY[space], step // 2, 2)
        expected = sampler.sample(part, num_architectures=2, step=step, rank=0)
        assert architectures == expected
        for architecture in architectures:
            TINY[space].validate(architecture)


def test_warm_up_starts_with_the_widest_and_goes_on_after_a_restart(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    def run(folder: Path, epochs: int, resume: Path | None = None) -> list[list[Architecture]]:
        pl.seed_everything(0)
        watch = Watch()
        sampling = MultiArchitectureSampling(2, warm_up_epochs=3, warm_up_choices=["*.mlp_ratio"])
        trainer = quiet_trainer(
            folder,
            max_epochs=epochs,
            limit_train_batches=2,
            callbacks=[sampling, SupernetCheckpoint(), watch],
        )
        trainer.fit(
            SearchableClassifier(space, 10), datamodule=data, ckpt_path=resume, weights_only=True
        )
        return watch.steps

    straight = run(tmp_path / "a", 4)
    ratios = [
        {v for a in step for n, v in a.items() if n.endswith("mlp_ratio")} for step in straight
    ]
    assert set().union(*ratios[:4]) <= {6}  # 1 + floor(1 (3 - 1) / 3) options in epoch 1
    assert set().union(*ratios[4:6]) <= {4, 6}
    assert set().union(*ratios) > {6}
    run(tmp_path / "b", 2)
    assert run(tmp_path / "b", 4, tmp_path / "b" / "supernet.ckpt") == straight[4:]


def test_a_window_for_identities_is_searched_once_for_the_whole_space(
    data: FashionMini, tmp_path: Path
) -> None:
    _searched.cache_clear()
    space = TINY["vitas"]
    middle = space.extreme("macs", largest=True)[1].macs / 3
    sampler = IdentitySampler(identity_probability=[0.9 * middle, 1.1 * middle])
    watch = Watch()
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=2,
        limit_train_batches=1,
        callbacks=[MultiArchitectureSampling(1, sampler, warm_up_epochs=2), watch],
    )
    trainer.fit(SearchableClassifier(space, 10), datamodule=data)
    assert _searched.cache_info().misses == 1
    settled = sampler.settled(space, num_classes=10)
    for epoch, drawn in enumerate(watch.steps):
        part = warm_up_space(space, epoch, 2)
        assert drawn == settled.sample(part, num_architectures=1, step=epoch, rank=0)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"sampler": IdentitySampler(identity_probability=0.5)}, SpaceError, "no identity_prob"),
        ({"warm_up_epochs": -1}, ConfigError, "warm_up_epochs=-1 must be a whole number"),
        ({"warm_up_choices": ["*.wide"]}, ConfigError, "warm_up_choices: space glit has no choice"),
        ({"num_architectures": 3}, ConfigError, "cannot be shared evenly"),
    ],
)
def test_what_fits_neither_space_nor_batch_is_refused_before_the_first_step(
    settings: dict[str, Any],
    error: type[Exception],
    words: str,
    module: SearchableClassifier,
    data: FashionMini,
    tmp_path: Path,
) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[MultiArchitectureSampling(**settings)])
    with pytest.raises(error, match=words) as info:
        trainer.fit(module, datamodule=data)
    assert "\n" not in str(info.value)
    assert trainer.global_step == 0
