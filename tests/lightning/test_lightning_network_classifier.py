"""Training one network alone: the recipe of a supernet, and nothing that depends on the others."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, NonFiniteLossError
from vitsearch.lightning import Classifier, SearchableClassifier
from vitsearch.lightning.retraining.train_alone import Recipe, train_alone, with_order
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.spaces import Architecture, SearchSpace, build_space
from vitsearch.supernet import SuperTransformer, VisionTransformer

SETTINGS: dict[str, Any] = {
    "optimizer": {"opt": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "scheduler": {"sched": "cosine", "warmup_epochs": 1, "min_lr": 1e-5},
    "label_smoothing": 0.1,
}


def recipe_for(folder: Path, **settings: Any) -> Recipe:
    def make_trainer(**given: Any) -> pl.Trainer:
        return quiet_trainer(folder, **given)

    return Recipe(
        make_trainer=make_trainer,
        make_classifier=lambda network: Classifier(network, **(SETTINGS | settings)),
        drop_path_rate=0.1,
        zero_init_residual=False,
        settings=SETTINGS | settings,
    )


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4, "cutmix": 1.0}])
def test_the_recipe_is_that_of_a_supernet_of_one_architecture(
    mixing: dict[str, float], space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    """Same weights, images, loss, optimiser and schedule: bit-identical after two epochs."""
    architecture = space.sample(random.Random(2))
    one = space.restrict(architecture.to_dict())
    pl.seed_everything(1)
    supernet = SearchableClassifier(one, 10, **SETTINGS, **mixing)
    network = supernet.net.extract(one.largest())
    alone = Classifier(copy.deepcopy(network), **SETTINGS, **mixing)
    for module in (supernet, alone):
        pl.seed_everything(5)
        trainer = quiet_trainer(tmp_path, max_epochs=2, gradient_clip_val=1.0)
        trainer.fit(module, datamodule=copy.copy(data))
    assert equal(supernet.net.extract(one.largest()), alone.net)
    assert not equal(network, alone.net)


def test_validation_counts_the_whole_split(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    module = Classifier(VisionTransformer(space, space.smallest(), num_classes=10))
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, datamodule=data)
    module.net.eval()
    with torch.inference_mode():
        correct = sum(
            int((module.net(images).argmax(dim=1) == labels).sum())
            for images, labels in data.search_dataloader()
        )
    assert float(trainer.callback_metrics["val/top1"]) == pytest.approx(correct / 100)


def test_hooks_are_for_overriding(space: SearchSpace, data: FashionMini, tmp_path: Path) -> None:
    class Mine(Classifier):
        def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
            return super().compute_loss(logits, targets) * torch.inf

    module = Mine(VisionTransformer(space, space.smallest(), num_classes=10))
    with pytest.raises(NonFiniteLossError, match="step 0"):
        quiet_trainer(tmp_path).fit(module, datamodule=data)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_smoothing": 1}, "label_smoothing=1"),
        ({"mixup": -1}, "mixup=-1"),
        ({"cutmix": "x"}, "cutmix=x"),
        ({"optimizer": {"opt": "nope"}}, "optimizer.opt=nope"),
        ({"scheduler": {"sched": "nope"}}, "scheduler.sched=nope"),
    ],
)
def test_settings_name_themselves(settings: dict[str, Any], words: str, space: SearchSpace) -> None:
    with pytest.raises(ConfigError, match=words):
        Classifier(VisionTransformer(space, space.smallest(), 10), **settings)


def test_a_training_depends_on_its_seed_alone(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    recipe = recipe_for(tmp_path, mixup=0.2)

    def train(architecture: Architecture, seed: int) -> VisionTransformer:
        return train_alone(space, architecture, recipe, data, num_classes=10, seed=seed)

    first = train(space.smallest(), 0)
    torch.rand(7)
    train(space.largest(), 3)  # what came before does not count
    assert equal(first, train(space.smallest(), 0))
    assert not equal(first, train(space.smallest(), 1))
    assert first.architecture == space.smallest()
    assert data.seed == 0
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_training_names_its_architecture(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    recipe = recipe_for(tmp_path, optimizer={"opt": "sgd", "lr": 1e30}, scheduler={})
    with pytest.raises(
        NonFiniteLossError, match=f"architecture {space.largest().digest}: the loss"
    ):
        train_alone(space, space.largest(), recipe, data, num_classes=10, seed=0)


def test_another_order_has_the_same_splits(data: FashionMini) -> None:
    same, other = with_order(data, 0), with_order(data, 2)
    for split in ("train", "search", "test", "statistics"):
        assert torch.equal(data.split_indices(split), other.split_indices(split)), split

    def batch(module: FashionMini) -> Tensor:
        images: Tensor = next(iter(module.train_dataloader()))[0]
        return images

    assert torch.equal(batch(data), batch(same))  # type: ignore[arg-type]
    assert not torch.equal(batch(data), batch(other))  # type: ignore[arg-type]


def test_the_digest_of_a_recipe(tmp_path: Path) -> None:
    digests = {recipe_for(tmp_path, mixup=mixup).digest for mixup in (0.0, 0.0, 0.5)}
    assert len(digests) == 2
    assert all(len(digest) == 8 for digest in digests)


def test_networks_are_scored_like_sub_networks(data: FashionMini) -> None:
    """A network with the supernet's weights gets the supernet's score, whatever its statistics."""
    space = build_space("vit_resnas")
    torch.manual_seed(0)
    net = SuperTransformer(space, num_classes=10)
    data.setup("fit")
    statistics = [images for images, _ in data.statistics_dataloader()]
    scorer = Scorer(net, data.search_dataloader(), statistics, device=torch.device("cpu"))
    for architecture in (space.smallest(), space.sample(random.Random(0))):
        network = net.extract(architecture).train()
        assert network.has_batch_norm
        assert scorer.score_network(network) == scorer.score(architecture)
