from __future__ import annotations

import numpy as np
import pytest

from vitsearch.data.randomness import (
    Purpose,
    global_generators_seeded,
    hashes,
    permutation,
    uniforms,
)
from vitsearch.data.splits import ImageTable, hold_out, mixed_order

NAMES = [f"class{index}" for index in range(10)]


def held(labels, **options):
    arguments = {"split": "search", "purpose": Purpose.SEARCH, "seed": 0, "fraction": 0.25}
    names = NAMES[: int(np.max(labels)) + 1]
    return hold_out(ImageTable.of(labels), class_names=names, **{**arguments, **options})


def test_hashes_never_change():
    # Splits of published results rest on these numbers.
    found = hashes(0, Purpose.SEARCH, np.arange(2)).tolist()
    assert found == [2226165485332179373, 10904634508349920446]
    assert permutation(6, seed=0, epoch=0).tolist() == [1, 2, 4, 3, 0, 5]


def test_uniforms_are_uniform_and_unrelated():
    draws = uniforms(hashes(3, Purpose.AUGMENTATION, np.arange(20_000), epoch=7), 4)
    assert draws.min() >= 0
    assert draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(4), atol=0.03)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"epoch": 1}, {"purpose": Purpose.TEST}],
    ids=lambda change: next(iter(change)),
)
def test_every_argument_changes_the_hashes(change):
    arguments = {"seed": 0, "purpose": Purpose.SEARCH, "epoch": 0}
    keys = np.arange(50)
    first = hashes(arguments["seed"], arguments["purpose"], keys, epoch=arguments["epoch"])
    arguments.update(change)
    second = hashes(arguments["seed"], arguments["purpose"], keys, epoch=arguments["epoch"])
    assert not set(first.tolist()) & set(second.tolist())


def test_global_generators_come_back():
    import random

    import torch

    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    with global_generators_seeded(2**63 + 5):
        first = draw()
    expected_state = random.getstate()
    with global_generators_seeded(2**63 + 5):
        assert draw() == first
    assert random.getstate() == expected_state


@pytest.mark.parametrize("fraction", [0.1, 1 / 6, 0.5, 0.8])
def test_balanced_classes_give_the_fraction(fraction):
    labels = np.tile(np.arange(4), 60)
    mask = held(labels, fraction=fraction)
    assert np.bincount(labels[mask]).tolist() == [round(60 * fraction)] * 4


def test_small_classes_keep_half():
    labels = np.repeat([0, 1, 2], [100, 10, 2])
    mask = held(labels)
    assert np.bincount(labels[mask]).tolist() == [9, 5, 1]
    assert np.bincount(labels[held(labels, per_class=1)]).tolist() == [1, 1, 1]


def test_a_held_out_set_does_not_depend_on_the_order_of_the_images():
    labels, keys = np.tile(np.arange(3), 20), np.arange(60)
    shuffled = np.random.default_rng(0).permutation(60)
    options = {
        "class_names": NAMES[:3],
        "split": "search",
        "purpose": Purpose.SEARCH,
        "seed": 0,
        "fraction": 0.3,
    }
    first = hold_out(ImageTable.of(labels, keys), **options)
    second = hold_out(ImageTable.of(labels[shuffled], keys[shuffled]), **options)
    assert set(keys[first]) == set(keys[shuffled][second])


def test_other_seeds_hold_out_other_images():
    labels = np.tile(np.arange(2), 200)
    assert (held(labels, seed=0) != held(labels, seed=1)).any()
    assert (held(labels, seed=0) == held(labels, seed=0)).all()


def test_too_small_a_class_is_named(one_line_error):
    labels = np.repeat([0, 1], [50, 3])
    with one_line_error("'class1'", "3 images", "hold out 3", "search"):
        held(labels, per_class=3)
    with one_line_error("'class1'", "1 images"):
        held(np.array([0, 0, 0, 1]))


def test_prefixes_of_the_mixed_order_are_balanced():
    labels = np.repeat([0, 1, 2, 3], [40, 40, 40, 6])
    table = ImageTable.of(labels)
    order = mixed_order(table, np.arange(len(labels)), purpose=Purpose.STATISTICS, seed=0)
    assert sorted(order) == list(range(len(labels)))
    assert np.bincount(labels[order[:24]]).tolist() == [6, 6, 6, 6]
    counts = np.bincount(labels[order[:50]])
    assert counts[:3].max() - counts[:3].min() <= 1
