from __future__ import annotations

import random

import numpy as np
import pytest

import vitsearch
from vitsearch import Architecture, Cost
from vitsearch.costs import CostModel, cost_table
from vitsearch.errors import SpaceError

SPACES = {
    "glit": vitsearch.build_space("glit"),
    "glit_tiny": vitsearch.build_space("glit_tiny"),
    "grid": vitsearch.build_space("glit", **{"mixer.local": "grid"}),
    "widths and patches": vitsearch.build_space(
        "glit", embed_dims=[24, 48], **{"patch_sizes": [4, 7]}
    ),
    "restricted": vitsearch.build_space("glit").restrict({"*.global_heads": [0, 3]}),
    "stages": vitsearch.build_space("glit", num_stages=2, num_blocks=[1, 3]),
}


@pytest.mark.parametrize("num_classes", [0, 10, 1000])
@pytest.mark.parametrize("name", SPACES)
def test_table_equals_one_by_one(name, num_classes):
    space, rng = SPACES[name], random.Random(0)
    architectures = [space.sample(rng) for _ in range(100)]
    table = cost_table(space, architectures, num_classes)
    costs = [vitsearch.cost(space, a, num_classes) for a in architectures]
    assert set(table) == {"macs", "params"}
    for metric, column in table.items():
        assert column.dtype == np.int64
        assert column.tolist() == [getattr(cost, metric) for cost in costs]


def test_table_of_none():
    table = cost_table(SPACES["glit"], [])
    assert table["macs"].shape == table["params"].shape == (0,)


def test_model_grows_by_pieces_not_by_architectures():
    space, rng = SPACES["glit_tiny"], random.Random(0)
    model = CostModel(space)
    for _ in range(2000):
        model.cost(space.sample(rng))
    assert [len(segments) for segments in model._segments] == [1]
    # Mixers and MLPs, which all twelve slots share.
    assert sorted(len(table) for table in model._tables.values()) == [1 + 3, 9 + 3 + 3 + 3]


def test_default_classifier_is_imagenets():
    space = SPACES["glit_tiny"]
    largest = space.largest()
    assert vitsearch.cost(space, largest) == vitsearch.cost(space, largest, num_classes=1000)
    difference = vitsearch.cost(space, largest).macs - vitsearch.cost(space, largest, 0).macs
    assert difference == 192 * 1000


def test_costs_add_up_and_compare():
    assert Cost(1, 2) + Cost(3, 4) == Cost(4, 6)
    assert sorted([Cost(2, 0), Cost(1, 9)]) == [Cost(1, 9), Cost(2, 0)]


def test_illegal_architecture():
    with pytest.raises(SpaceError, match=r"stem\.patch_size is missing"):
        vitsearch.cost(SPACES["glit"], Architecture({}))
