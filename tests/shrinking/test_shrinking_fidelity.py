"""Fidelity: how alike features are, exactly where a history keeps it."""

from __future__ import annotations

import pytest
import torch
from tests.shrinking.conftest import make_images

from vitsearch import SuperTransformer
from vitsearch.errors import ConfigError
from vitsearch.lightning.tasks.fidelity import FeatureFidelity
from vitsearch.shrinking import Fidelity, UniformCuts
from vitsearch.shrinking.fidelity import features_of
from vitsearch.supernet.repairing import Calibration


def test_the_full_network_has_one_and_a_cut_one_less(
    network: SuperTransformer, calibration: Calibration
) -> None:
    score = Fidelity(network.extract(network.largest), make_images())
    assert score(network.extract(network.largest)) == pytest.approx(1, abs=1e-6)
    full = network.cost(network.largest).macs
    cut = UniformCuts(network.space, 10).below(0.5 * full)
    assert cut is not None
    repaired, bare = network.extract(cut, calibration=calibration), network.extract(cut)
    assert score(bare) < score(repaired) < 1
    with pytest.raises(ConfigError, match="no images"):
        Fidelity(network.extract(network.largest), [])


def test_the_task_counts_whole_numbers_that_add_up(
    network: SuperTransformer, calibration: Calibration
) -> None:
    images = make_images()
    full = features_of(network.extract(network.largest))
    task = FeatureFidelity(features_of=full)
    cut = UniformCuts(network.space, 10).below(0.5 * network.cost(network.largest).macs)
    assert cut is not None
    small = network.extract(cut, calibration=calibration)
    batches = [task.prepare(batch, network.space) for batch in images]  # images alone, no labels
    with torch.inference_mode():
        tallies = [task.tally(features_of(small)(x), y) for x, y in batches]
        whole = task.prepare(torch.cat(images), network.space)
        at_once = task.tally(features_of(small)(whole.images), whole.targets)
    total = tallies[0] + tallies[1]
    assert total.counts["agreement"].dtype == torch.int64
    assert abs(int(total.counts["agreement"]) - int(at_once.counts["agreement"])) <= 2
    score = task.score(total)
    assert score.value == pytest.approx(
        Fidelity(network.extract(network.largest), images)(small), abs=1e-4
    )
    assert task.recall(score.record()) == score
    opposite = task.tally(-whole.targets, whole.targets)
    assert int(opposite.counts["agreement"]) == 0
    assert task.score(opposite).value == -1


def test_a_split_is_told_by_its_images(network: SuperTransformer) -> None:
    task = FeatureFidelity(features_of=lambda images: images.flatten(1))
    batch = task.prepare((make_images()[0], torch.zeros(32)), network.space)
    assert torch.equal(task.identity(batch), batch.images)
