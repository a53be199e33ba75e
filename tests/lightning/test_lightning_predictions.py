"""What a network says of every image: exact, in order, whatever the batches and processes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from vitsearch.errors import CheckpointError, DataError
from vitsearch.lightning.evaluation import predictions as module
from vitsearch.lightning.evaluation.facts import (
    accuracy_facts,
    calibration_facts,
    confusion_matrix,
)
from vitsearch.lightning.evaluation.predictions import (
    Predictions,
    gather_predictions,
    joined,
    predict,
)

CPU = torch.device("cpu")


def drawn(count: int = 300, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that lean towards labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes - 1, (count,), generator=generator)  # no image of the last one
    logits = 2 * torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


def predicted(logits: torch.Tensor, labels: torch.Tensor, size: int = 64) -> Predictions:
    batches = zip(logits.split(size), labels.split(size), strict=True)
    return predict(nn.Identity(), batches, device=CPU)


def test_figures_are_those_of_torchmetrics() -> None:
    logits, labels = drawn()
    found = predicted(logits, labels)
    names = [f"class {index}" for index in range(7)]
    facts = accuracy_facts(found, names)
    for top in (1, 5):
        metric = MulticlassAccuracy(7, top_k=top, average="micro")
        assert facts[f"top{top}"]["accuracy"] == pytest.approx(float(metric(logits, labels)))
        assert facts[f"top{top}"]["correct"] == found.num_correct(top)
    by_class = MulticlassAccuracy(7, average="none")(logits, labels)
    for one, accuracy in zip(facts["classes"][:-1], by_class, strict=False):
        assert one["accuracy"] == pytest.approx(float(accuracy))
    assert facts["classes"][-1]["accuracy"] is None
    assert facts["classes"][-1]["precision"] == 0  # named in vain
    assert facts["mean_class_accuracy"] == pytest.approx(float(by_class[:-1].mean()))
    loss = nn.functional.cross_entropy(logits, labels)
    assert facts["cross_entropy"] == pytest.approx(float(loss), rel=1e-5)

    calibration = calibration_facts(found, 10)
    metric = MulticlassCalibrationError(7, n_bins=10)
    assert calibration["error"] == pytest.approx(float(metric(logits, labels)), rel=1e-4)
    gaps = [
        one["images"] * abs(one["accuracy"] - one["confidence"])
        for one in calibration["bins"]
        if one["images"]
    ]
    assert sum(gaps) / len(labels) == pytest.approx(calibration["error"])


def test_confusions_add_up() -> None:
    found = predicted(*drawn())
    names = ["crane", "crane", "c", "d", "e", "f", "g"]  # as in ImageNet, two of one name
    facts = accuracy_facts(found, names)
    matrix = confusion_matrix(found, 7)
    assert matrix.sum() == len(found)
    assert sum(pair["count"] for pair in facts["confusions"]) == matrix.sum() - matrix.trace()
    assert facts["top1"]["correct"] == matrix.trace()
    counts = [pair["count"] for pair in facts["confusions"]]
    assert counts == sorted(counts, reverse=True)
    first = facts["confusions"][0]
    assert matrix[first["true_index"], first["predicted_index"]] == first["count"]


def test_a_network_that_is_certain() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    found = predicted(1e4 * nn.functional.one_hot(labels, 3).double().float(), labels)
    calibration = calibration_facts(found, 15)
    assert calibration["error"] < 1e-12
    assert calibration["bins"][-1]["images"] == 4  # a confidence of exactly 1 is in the last bin
    assert accuracy_facts(found, ["a", "b", "c"])["top5"] is None  # of three classes


def test_of_equal_logits_the_first_counts() -> None:
    found = predicted(torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert found.predicted.tolist() == [0, 0, 0]
    assert found.ranks.tolist() == [0, 1, 3]


def test_batches_do_not_matter() -> None:
    logits, labels = drawn(50)
    one, other = predicted(logits, labels, 50), predicted(logits, labels, 7)
    for name in Predictions.__slots__:
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_shards_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(11)
    whole = predicted(logits, labels)
    shards = []
    for rank in range(3):
        own = list(range(rank, 11, 3))
        batches = [(logits[own], labels[own])]
        shards.append(predict(nn.Identity(), batches, device=CPU, positions=lambda own=own: own))
    empty = predict(nn.Identity(), [], device=CPU)

    def others(own: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        rest = [{name: getattr(shard, name) for name in own} for shard in (empty, *shards[:2])]
        return [*rest, own]

    monkeypatch.setattr(module, "gathered", others)
    found = gather_predictions(shards[2])
    for name in Predictions.__slots__:
        assert torch.equal(getattr(found, name), getattr(whole, name)), name
    both = joined([(whole, 20), (whole, 11)])  # nine images of the first split are unreadable
    assert both.positions.tolist() == [*range(11), *range(20, 31)]


def test_what_is_refused() -> None:
    logits, labels = drawn(20)
    logits[3, 2] = float("nan")
    with pytest.raises(CheckpointError, match="not finite on 1 of 20 images"):
        gather_predictions(predicted(logits, labels))
    with pytest.raises(DataError, match="has 3 images, its loader gave 20"):
        predict(nn.Identity(), [(logits, labels)], device=CPU, positions=lambda: [0, 1, 2])
    with pytest.raises(DataError, match="no image"):
        gather_predictions(predict(nn.Identity(), [], device=CPU))
