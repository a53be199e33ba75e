"""What happens to a pretrained network before it trains as a supernet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.test_objectives_features import timm_vit
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError
from vitsearch.lightning import MultiArchitectureSampling, SearchableClassifier
from vitsearch.lightning.training.linear_head import fit_heads, logistic_regression
from vitsearch.lightning.training.pretrained_start import PretrainedStart
from vitsearch.supernet import SuperTransformer


def test_logistic_regression_is_the_minimum():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    features = torch.randn(90, 5, generator=generator) * 7 + 3
    features[:, 0] += 30 * labels
    weight, bias = logistic_regression(features.double(), labels, 3)
    scale = (features - features.mean(0)).double().pow(2).mean() ** 0.5

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        decay = 1e-3 / 2 * (weight * scale).square().sum()
        return F.cross_entropy(features.double() @ weight.T + bias, labels) + decay

    own = [weight.clone().requires_grad_(True), bias.clone().requires_grad_(True)]
    slopes = torch.autograd.grad(loss(*own), own)
    assert all(slope.abs().max() < 1e-3 for slope in slopes)
    said = (features.double() @ weight.T + bias).argmax(1)
    assert (said == labels).float().mean() > 0.9
    shifted = logistic_regression(features.double() * 100 + 5, labels, 3)
    torch.testing.assert_close(shifted[0] * 100, weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_only_classifiers_are_fitted(pool: str):
    net = vitsearch.from_timm(timm_vit(global_pool=pool), num_classes=10)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    data = FashionMini(search_per_class=5)
    batches = list(data.sample_dataloader(300))
    fit_heads(net, batches)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith("head."), name
    with torch.no_grad():
        found = [F.cross_entropy(net(images), labels).item() for images, labels in batches]
    assert max(found) < 1.5  # log(10) is 2.3


def started(
    net: SuperTransformer, tmp_path: Path, *, plain: bool, importance: str = "variance"
) -> SearchableClassifier:
    """Before the first step of a training."""
    module = SearchableClassifier(net.space, 10, objective={"feature_distillation": {}})
    module.net.load_state_dict(net.state_dict())
    module.begin_with(net.extract(net.largest))
    start = PretrainedStart(
        folder=tmp_path / "original", calibration_images=60, importance=importance
    )
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
    trainer.callbacks += [start, MultiArchitectureSampling(2)]  # type: ignore[attr-defined]
    module.configure_optimizers = lambda: None  # type: ignore[method-assign]
    if plain:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(40, 1, 28, 28, generator=generator)
        trainer.fit(module, DataLoader(TensorDataset(images, torch.arange(40) % 10), 8))
    else:
        trainer.fit(module, datamodule=FashionMini(batch_size=8, search_per_class=5))
    return module


@pytest.mark.parametrize("plain", [False, True])
def test_units_are_in_order_and_the_function_is_as_it_was(plain: bool, tmp_path: Path):
    net = vitsearch.from_timm(timm_vit())
    module = started(net, tmp_path, plain=plain)
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(images)
        torch.testing.assert_close(module.net.eval()(images), expected, rtol=1e-3, atol=1e-4)
        original = vitsearch.load_model(tmp_path / "original")
        torch.testing.assert_close(original(images), expected, rtol=1e-3, atol=1e-4)
    name = "stages.0.blocks.0.mlp.fc1.weight"
    assert not torch.equal(module.net.state_dict()[name], net.state_dict()[name])
    assert torch.equal(module.net.state_dict()[name], original.state_dict()[name])


def test_what_the_tasks_loss_misses_most_comes_first(tmp_path: Path):
    net = vitsearch.from_timm(timm_vit(num_classes=10))
    module = started(net, tmp_path, plain=False, importance="taylor")
    data = FashionMini(batch_size=8, search_per_class=5)
    net.order(net.calibrate(data.sample_dataloader(60), gradients=True), "taylor")
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, module.net.state_dict()[name]), name


def test_an_unknown_importance_is_refused_at_once():
    with pytest.raises(ConfigError, match="importance=beauty is unknown; legal: variance, taylor"):
        PretrainedStart(importance="beauty")
