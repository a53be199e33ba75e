"""Classification as a task, and what counts as a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning.tasks import Batch, Classification, Figure, Tally
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.spaces import build_space

SPACE = build_space("glit", num_blocks=1)
THREE = Classification(num_classes=3)
IMAGES = torch.randn(4, 1, 28, 28)
LABELS = torch.tensor([0, 2, 1, 2])


def counted(task: Classification, size: int, logits: torch.Tensor, labels: torch.Tensor) -> Tally:
    parts = [task.tally(*pair) for pair in zip(logits.split(size), labels.split(size), strict=True)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


@pytest.mark.parametrize("classes", [2, 5, 6, 40])
def test_figures_are_torchmetrics_and_do_not_depend_on_batches(classes: int) -> None:
    torch.manual_seed(classes)
    logits, labels = torch.randn(103, classes), torch.randint(classes, (103,))
    task = Classification(num_classes=classes).detailed()
    scores = [task.score(counted(task, size, logits, labels)) for size in (1, 10, 103)]
    assert scores[0] == scores[1] == scores[2]
    assert set(scores[0].figures) == ({"top1", "top5"} if classes > 5 else {"top1"})
    for name, value in scores[0].figures.items():
        metric = MulticlassAccuracy(classes, average="micro", top_k=int(name[3:]))
        assert torch.tensor(value, dtype=torch.float32) == metric(logits, labels)
        assert value == scores[0].counts[f"correct_{name}"] / scores[0].total


def test_a_search_compares_top1_alone_and_its_record_says_which_integers_it_rests_on() -> None:
    task = Classification(num_classes=10)
    score = task.score(task.tally(torch.eye(10), torch.tensor([*range(9), 0])))
    assert score.value == 0.9
    assert list(score.record().items()) == [("top1", 0.9), ("correct", 9), ("total", 10)]
    assert task.recall({"digest": "x", **score.record()}) == score
    assert task.recall(score.record(), total=20) != score


@pytest.mark.parametrize(
    "record", [{}, {"correct": 3}, {"correct": 3.0, "total": 4}, {"correct": 3, "total": 0}]
)
def test_a_record_without_whole_numbers_holds_no_score(record: dict[str, Any]) -> None:
    assert THREE.recall(record) is None


def test_two_classes_at_least() -> None:
    with pytest.raises(ConfigError, match="num_classes=1 must be 2 or more"):
        Classification(num_classes=1)


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        (IMAGES, LABELS, ["a.png", "b.png", "c.png", "d.png"]),
        {"image": IMAGES, "label": LABELS},
        {"images": IMAGES, "labels": LABELS, "idx": torch.arange(4)},
        {"pixel_values": IMAGES, "labels": LABELS.int(), "image": ["kept", "as", "it", "was"]},
        Batch(IMAGES, LABELS),
        (IMAGES, LABELS.to(torch.uint8)),
    ],
)
def test_batches_that_people_have_are_taken(batch: Any) -> None:
    images, labels = THREE.prepare(batch, SPACE)
    assert images is IMAGES
    assert labels.dtype == torch.int64
    assert torch.equal(labels, LABELS)
    assert read_images(batch) is IMAGES


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((IMAGES, torch.eye(3)[LABELS]), r"labels have the shape \(4, 3\).*argmax\(dim=1\)"),
        ((IMAGES, LABELS[:, None]), r"labels have the shape \(4, 1\); they must be .*\(4,\)"),
        ((IMAGES, LABELS + 1), r"labels range from 1 to 3; legal are 0 to 2 \(num_classes=3\)"),
        ((IMAGES, LABELS - 1), "labels range from -1 to 1; legal are 0 to 2"),
        ((IMAGES, LABELS.float()), "labels are float32; they must be whole numbers"),
        ((IMAGES, LABELS[:3]), "a batch has 4 images and 3 targets"),
        ((IMAGES.byte(), LABELS), "images are uint8; they must be floating point"),
        ((IMAGES[0], LABELS[:1]), r"images has the shape \(1, 28, 28\)"),
        ((IMAGES.expand(-1, 3, -1, -1), LABELS), "images are 3 x 28 x 28 .* takes 1 x 28 x 28"),
        ((torch.randn(4, 1, 32, 32), LABELS), "images are 1 x 32 x 32 .* takes 1 x 28 x 28"),
        ((torch.randn(4, 28, 28, 1), LABELS), "images are 28 x 28 x 1 .* takes 1 x 28 x 28"),
        ({"img": IMAGES, "label": LABELS}, "has img, label; .* image, images or pixel_values"),
        ({"image": IMAGES, "y": LABELS}, "has image, y; it needs one tensor of label or labels"),
        ({"image": IMAGES, "images": IMAGES, "label": LABELS}, "has image and images"),
        ({"image": "a.png", "label": LABELS}, "it needs one tensor of image"),
        (IMAGES, "a batch is a tensor without targets"),
        ((IMAGES,), "a batch is a tuple of Tensor; it must be"),
        ([(IMAGES, LABELS), (IMAGES, LABELS)], "a batch is a list of tuple, tuple"),
        ((IMAGES, ["cat", "dog", "cat", "dog"]), "a batch is a tuple of Tensor, list"),
        ("images", "a batch is a str"),
    ],
)
def test_what_is_wrong_with_a_batch_is_said_in_one_line(batch: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        THREE.prepare(batch, SPACE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [IMAGES, (IMAGES,), {"image": IMAGES}])
def test_statistics_need_images_alone(batch: Any) -> None:
    assert read_images(batch) is IMAGES


@pytest.mark.parametrize(
    ("figure", "text", "difference", "error"),
    [
        (Figure(name="top1", label="top-1"), "25.0 %", "-25.0 points", 0.0433),
        (Figure(name="miou", label="mIoU", share=False), "25.0 %", "-25.0 points", None),
        (Figure(name="x", label="X", in_percent=False, share=False), "0.2500", "-0.2500", None),
    ],
)
def test_how_a_figure_is_shown(
    figure: Figure, text: str, difference: str, error: float | None
) -> None:
    assert figure.text(0.25) == text
    assert figure.difference(-0.25) == difference
    assert figure.standard_error(0.25, 100) == pytest.approx(error, abs=1e-4)
