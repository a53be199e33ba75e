"""Segmentation as a task: its integers, its loss, and what trains for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassJaccardIndex

from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionScenes
from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning import (
    Classifier,
    MultiArchitectureSampling,
    SearchableClassifier,
    SearchableSegmenter,
    Segmenter,
)
from vitsearch.lightning.objectives.divergence import soft_divergence
from vitsearch.lightning.tasks import Segmentation
from vitsearch.lightning.tasks.segmentation import class_ious
from vitsearch.spaces import SearchSpace, build_space
from vitsearch.supernet import VisionTransformer

CLASSES = 4
TASK = Segmentation(num_classes=CLASSES)


def batch(count: int, seed: int, *, ignored: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs on a grid of 5 x 6 and masks of 17 x 20 pixels, of three of the classes."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(count, CLASSES, 5, 6, generator=generator)
    outputs[:, 3] -= 100
    masks = torch.randint(3, (count, 17, 20), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < ignored] = 255
    return outputs, masks


def test_figures_of_parts_are_those_of_the_whole() -> None:
    parts = [batch(count, seed) for seed, count in enumerate((3, 1, 4))]
    tally = TASK.tally(*parts[0])
    for part in parts[1:]:
        tally = tally + TASK.tally(*part)
    score = TASK.detailed().score(tally)
    assert score.total == 8
    said = torch.cat([F.interpolate(x, size=(17, 20), mode="bilinear") for x, _ in parts]).argmax(1)
    masks = torch.cat([y for _, y in parts])
    jaccard = MulticlassJaccardIndex(3, average="macro", ignore_index=255)
    assert score.figures["miou"] == pytest.approx(float(jaccard(said, masks)), abs=1e-6)
    known = masks != 255
    right = float((said[known] == masks[known]).double().mean())
    assert score.figures["pixel_accuracy"] == pytest.approx(right, abs=1e-12)
    assert sum(map(sum, score.counts["confusion"])) == int(known.sum())
    assert TASK.detailed().recall(score.record()) == score


def test_classes_that_occur_nowhere_do_not_count() -> None:
    assert class_ious([[2, 1, 0], [0, 3, 0], [0, 0, 0]]) == [2 / 3, 3 / 4, None]
    assert class_ious([[2, 0, 1], [0, 0, 0], [0, 0, 0]]) == [2 / 3, None, 0.0]
    nothing = [[0] * CLASSES] * CLASSES
    assert TASK.compute({"confusion": nothing}, 3) == (0.0,)


def test_the_loss_is_a_mean_over_the_pixels_that_count() -> None:
    outputs, masks = batch(3, 0)
    large = F.interpolate(outputs, size=(17, 20), mode="bilinear")
    expected = F.cross_entropy(large, masks, ignore_index=255)
    assert TASK.loss(outputs, masks) == pytest.approx(expected.item(), rel=1e-6)
    everything = Segmentation(num_classes=CLASSES, mean_over="all")
    share = float((masks != 255).double().mean())
    assert everything.loss(outputs, masks) == pytest.approx(expected.item() * share, rel=1e-6)
    halves = [everything.loss(outputs[i : i + 1], masks[i : i + 1]) for i in range(3)]
    assert everything.loss(outputs, masks) == pytest.approx(float(sum(halves)) / 3, rel=1e-6)


@pytest.mark.parametrize("mean_over", ["labelled", "all"])
def test_a_batch_without_labels_teaches_nothing(mean_over: str) -> None:
    outputs = torch.randn(2, CLASSES, 3, 3, requires_grad=True)
    task = Segmentation(num_classes=CLASSES, mean_over=mean_over)
    masks = torch.full((2, 9, 9), 255)
    loss = task.loss(outputs, masks)
    loss.backward()
    assert loss == 0
    assert outputs.grad is not None
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))
    assert task.count(outputs, masks)["confusion"].sum() == 0


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(2, dtype=torch.long), r"masks have the shape \(2,\); they must be"),
        (torch.zeros(2, 4, 4, dtype=torch.long), r"every pixel, \(2, 8, 8\)"),
        (torch.zeros(2, 8, 8), "masks are float32; they must be whole numbers"),
        (torch.full((2, 8, 8), 4), "masks have the label 4; legal are 0 to 3"),
        (torch.full((2, 8, 8), -1), "masks have the label -1; legal are 0 to 3"),
    ],
)
def test_masks_that_are_refused(targets: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.prepare((torch.zeros(2, 3, 8, 8), targets))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes=1 must be 2 or more"),
        ({"num_classes": 3, "ignore_index": 2}, "ignore_index=2 must be none of the classes"),
        ({"mean_over": "some"}, "mean_over=some is unknown; legal: labelled, all"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Segmentation(**settings)


def test_batches_of_dictionaries() -> None:
    given = {"image": torch.zeros(2, 3, 8, 8), "mask": torch.ones(2, 8, 8, dtype=torch.uint8)}
    images, masks = TASK.prepare(given)
    assert images.shape == (2, 3, 8, 8)
    assert masks.dtype == torch.int64


def small(**settings: Any) -> SearchSpace:
    return build_space("glit", num_blocks=1, embed_dims=[24], image_size=16, **settings)


def scenes(**settings: Any) -> FashionScenes:
    few = {"num_images": 40, "num_test_images": 8, "batch_size": 8, "statistics_images": 8}
    return FashionScenes(image_size=16, in_chans=1, **{**few, **settings})


def test_a_classifier_s_space_gets_a_dense_head() -> None:
    module = SearchableSegmenter(small(), CLASSES)
    assert module.space.head.dense
    assert module.task == TASK
    part = small().restrict({"*.mlp_ratio": 4})
    narrow = SearchableSegmenter(small(), CLASSES, search_space=part)
    assert narrow.references["largest"].digest == part.largest().digest
    assert narrow.search_space.head.dense
    pyramid = build_space("resnet18", head="fpn", image_size=32)
    assert SearchableSegmenter(pyramid, CLASSES).space == pyramid


def test_heads_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="segmentation does not go with a head that answers once"):
        SearchableClassifier(small(), CLASSES, task=TASK)
    with pytest.raises(ConfigError, match="segmentation does not go with a head that answers once"):
        Segmenter(VisionTransformer(small(), small().smallest(), CLASSES))
    dense = SearchableSegmenter(small(), CLASSES).space
    with pytest.raises(
        ConfigError, match="classification does not go with a head that answers for"
    ):
        SearchableClassifier(dense, CLASSES)
    with pytest.raises(
        ConfigError, match="classification does not go with a head that answers for"
    ):
        Classifier(VisionTransformer(dense, dense.smallest(), CLASSES))


@pytest.mark.parametrize("name", ["mixup", "cutmix", "label_smoothing"])
def test_masks_are_not_mixed(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=0.2 is not for the task segmentation"):
        SearchableSegmenter(small(), CLASSES, **{name: 0.2})


@pytest.mark.parametrize(
    "objective",
    ["teacher_distillation", "feature_distillation", "token_labelling", "patch_token_mixup"],
)
def test_objectives_of_whole_images_are_refused(objective: str) -> None:
    with pytest.raises(ConfigError, match=f"{objective}.*teaches answers for whole images"):
        SearchableSegmenter(small(), CLASSES, objective={"cross_entropy": {}, objective: {}})


def test_the_largest_teaches_every_pixel() -> None:
    """Architectures of two grids, so answers are compared on the images."""
    space = build_space("glit", num_blocks=1, embed_dims=[24], image_size=16, patch_sizes=[4, 8])
    both = {"cross_entropy": {"largest_only": True}, "in_place_distillation": {"weight": 0.5}}
    module = SearchableSegmenter(space, CLASSES, objective=both).double().eval()
    rng = random.Random(0)
    smaller = module.space.restrict({"stem.patch_size": 8}).sample(rng)
    largest = module.net.largest
    module.step_architectures = [largest, smaller]
    images = torch.randn(4, 1, 16, 16, dtype=torch.float64)
    masks = torch.randint(CLASSES, (4, 16, 16))
    loss, terms = module.objective(module.run_step(images, masks))
    taught = module.net(images, largest)

    def on_images(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=(16, 16), mode="bilinear")

    learnt = on_images(module.net(images[2:], smaller))
    divergence = soft_divergence(learnt, on_images(taught[2:]), 1.0) / 2
    by_pixel = soft_divergence(
        learnt.permute(0, 2, 3, 1).flatten(0, 2),
        on_images(taught[2:]).permute(0, 2, 3, 1).flatten(0, 2),
        1.0,
    )
    assert divergence.item() == pytest.approx(by_pixel.item() / 2, rel=1e-9)
    label = F.cross_entropy(on_images(taught[:2]), masks[:2]) / 2
    assert terms["cross_entropy"].item() == pytest.approx(label.item(), rel=1e-9)
    assert terms["in_place_distillation"].item() == pytest.approx(divergence.item(), rel=1e-9)
    assert loss.item() == pytest.approx(label.item() + 0.5 * divergence.item(), rel=1e-9)


def test_training_lowers_the_loss_and_logs_the_figure(tmp_path: Path) -> None:
    pl.seed_everything(0)
    module = SearchableSegmenter(small(), 11, optimizer={"opt": "adamw", "lr": 0.01}, scheduler={})
    trainer = quiet_trainer(
        tmp_path, max_epochs=3, limit_train_batches=1.0, callbacks=[MultiArchitectureSampling(4)]
    )
    data = scenes()
    before = module.task.loss(module(next(iter(data.search_dataloader()))[0]), _masks(data))
    trainer.fit(module, datamodule=data)
    after = module.task.loss(module(next(iter(data.search_dataloader()))[0]), _masks(data))
    assert after < 0.7 * before
    assert {"val/miou_smallest", "val/miou_largest", "val/miou_random"} <= set(
        trainer.callback_metrics
    )


def _masks(data: FashionScenes) -> torch.Tensor:
    masks: torch.Tensor = next(iter(data.search_dataloader()))[1]
    return masks


def test_one_network_validates_with_all_figures(tmp_path: Path) -> None:
    space = SearchableSegmenter(small(), 11).space
    module = Segmenter(VisionTransformer(space, space.smallest(), 11))
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, datamodule=scenes())
    assert {"val/miou", "val/pixel_accuracy"} <= set(trainer.callback_metrics)


def test_a_loader_s_own_ignored_label(tmp_path: Path) -> None:
    """Somebody's trainer, loader and label, without a data module of this library."""
    space = SearchableSegmenter(small(), 3).space
    masks = torch.randint(4, (8, 16, 16)) - 1
    loader = DataLoader(TensorDataset(torch.randn(8, 1, 16, 16), masks), 4)
    network = VisionTransformer(space, space.smallest(), 3)
    module = Segmenter(network, task=Segmentation(ignore_index=-1))
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, loader, loader)
    assert 0 <= float(trainer.callback_metrics["val/miou"]) <= 1
