"""A training that shrinks ends inside its budget, and leaves what a search leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.shrinking_runs import SPACES, fit, small_space, window
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.lightning import (
    MultiArchitectureSampling,
    ProgressiveShrinking,
    SearchableClassifier,
    SupernetCheckpoint,
)
from vitsearch.samplers import SandwichSampler
from vitsearch.spaces import Architecture


def read(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text())
    assert found["format"] == 1
    return found


@pytest.mark.parametrize("name", SPACES)
def test_the_network_ends_inside_the_window_and_is_scored(name: str, tmp_path: Path) -> None:
    module, shrinking, _ = fit(tmp_path, name)
    low, high = window(name)
    left = module.net.largest
    assert low <= module.net.cost(left).macs <= high
    shrinks = read(tmp_path / "search" / "shrinks.json")["shrinks"]
    costs = [one["macs"] for one in shrinks]
    assert len(costs) >= 2
    assert costs == sorted(costs, reverse=True)
    assert Architecture.from_dict(shrinks[-1]["architecture"]) == left
    assert shrinks[-1]["step"] <= 0.75 * 8  # the budget is kept while training goes on
    best = read(tmp_path / "search" / "best.json")
    assert best["digest"] == left.digest
    assert best["origin"] == "shrinking"
    assert "random_median_top1" not in best
    network = vitsearch.load_model(tmp_path / "best")
    assert network.architecture == left
    supernet = vitsearch.load_supernet(tmp_path / "supernet.ckpt")
    assert supernet.space.largest() == left
    images = torch.randn(2, 1, 28, 28)
    assert not any(layer._forward_pre_hooks for layer in module.net.modules())
    assert torch.equal(supernet(images), module.net.eval()(images))
    result = read(tmp_path / "search" / "result.json")["networks"]
    assert [row["name"] for row in result] == ["best"]
    assert result[0]["test_top1"] is not None
    assert shrinking.result is not None


def test_a_training_that_ends_before_its_time_is_inside_the_window(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            trainer.should_stop = trainer.global_step == 1

    module, _, _ = fit(tmp_path, before=(Stop(),))
    low, high = window("autoformer")
    assert low <= module.net.cost(module.net.largest).macs <= high


def test_another_metric_is_made_smaller(tmp_path: Path) -> None:
    space = small_space("autoformer")
    most = 0.75 * space.plan(space.largest()).cost(10).params
    module, _, _ = fit(tmp_path, shrinking={"constraint": {"params": [None, most]}})
    assert 0.7 * most <= module.net.cost(module.net.largest).params <= most


def test_sampling_inside_the_space_goes_on(tmp_path: Path) -> None:
    class Watch(pl.Callback):
        def __init__(self) -> None:
            self.seen: list[set[Architecture]] = []

        def on_before_zero_grad(self, trainer: pl.Trainer, module: Any, *_: object) -> None:
            for architecture in module.step_architectures or ():
                module.net.space.validate(architecture)
            self.seen.append(set(module.step_architectures or ()))

    sampling, watch = MultiArchitectureSampling(2, SandwichSampler()), Watch()
    pl.seed_everything(0)
    shrinking = ProgressiveShrinking(
        {"macs": window("autoformer")}, every_n_epochs=0.5, report=False
    )
    module = SearchableClassifier(small_space("autoformer"), 10)
    data = FashionMini(batch_size=8, search_per_class=3, statistics_images=20)
    trainer = quiet_trainer(
        tmp_path, max_epochs=2, limit_train_batches=4, callbacks=[shrinking, sampling, watch]
    )
    trainer.fit(module, datamodule=data)
    assert len(watch.seen) == 8
    assert all(len(drawn) == 2 for drawn in watch.seen)


def test_published_shrinking_drops_the_dead_alone(tmp_path: Path) -> None:
    module, _, _ = fit(
        tmp_path / "none", shrinking={"published": True, "threshold": 0.0, "warm_up_epochs": 1}
    )
    assert read(tmp_path / "none" / "search" / "shrinks.json")["shrinks"] == []
    whole = module.net.cost(module.net.largest).macs
    published = {"published": True, "threshold": 2.0, "every_n_epochs": 1, "least_dead_macs": 1}
    module, _, _ = fit(tmp_path / "all", shrinking=published)
    assert module.net.space.largest() == module.net.space.smallest()
    (only,) = read(tmp_path / "all" / "search" / "shrinks.json")["shrinks"]
    assert only["step"] == 4
    assert only["macs"] < whole


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({}, ConfigError, "needs a budget.*published=true"),
        ({"published": True, "constraint": {"macs": [1, 2]}}, ConfigError, "has no budget"),
        ({"constraint": {"macs": [1e6, None]}}, ConstraintError, "must have an upper end"),
        ({"constraint": {"latency_ms": [None, 5]}}, ConstraintError, "latency_ms: units are"),
        ({"constraint": {"macs": [1, 2], "params": [1, 2]}}, ConstraintError, "keeps one of them"),
        ({"published": True, "rho": -1}, ConfigError, "rho=-1 must be a number 0 or more"),
        ({"published": True, "every_n_epochs": 0}, ConfigError, "every_n_epochs=0 must"),
        ({"published": True, "reached": 1.5}, ConfigError, "reached=1.5 must lie in"),
        ({"published": "maybe"}, ConfigError, "published=maybe"),
    ],
)
def test_settings_that_do_not_go(settings: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ProgressiveShrinking(**settings)


def test_budgets_and_spaces_that_do_not_go(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="cannot be met: shrinking takes space autoformer"):
        fit(tmp_path, shrinking={"constraint": {"macs": [None, 1000]}})
    space = small_space("autoformer")
    part = SearchableClassifier(space, 10, search_space=space.restrict({"*.num_heads": 3}))
    with pytest.raises(ConfigError, match="search_space of its own"):
        ProgressiveShrinking(published=True).check(part)
    space = small_space("vit_resnas")
    module = SearchableClassifier(space.restrict(space.smallest()), 10)
    with pytest.raises(ConfigError, match="has no choice that counts units"):
        ProgressiveShrinking(published=True).check(module)


def test_a_trial_writes_nothing(tmp_path: Path) -> None:
    fit(tmp_path, fast_dev_run=True)
    assert not (tmp_path / "search").exists()


def test_wrong_places_in_the_list_of_callbacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must stand before SupernetCheckpoint"):
        fit(tmp_path, before=(SupernetCheckpoint(),))


def test_an_optimiser_without_one_moment_for_each_weight(tmp_path: Path) -> None:
    optimizer = {"opt": "adafactorbv", "lr": 1e-2, "min_dim_size_to_factor": 2}
    with pytest.raises(ConfigError, match="one moment for each weight"):
        fit(tmp_path, optimizer=optimizer)
