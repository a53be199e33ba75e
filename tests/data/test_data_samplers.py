from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch.utils.data import DistributedSampler, TensorDataset

from vitsearch.data import ExactDistributedSampler
from vitsearch.data.samplers import EpochSampler


def dataset(size: int) -> TensorDataset:
    return TensorDataset(torch.arange(size))


@pytest.mark.parametrize("size", [0, 1, 3, 10, 13])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
def test_exact_shards_cover_each_index_once(size, world):
    shards = [
        list(ExactDistributedSampler(dataset(size), num_replicas=world, rank=rank))
        for rank in range(world)
    ]
    assert sorted(chain.from_iterable(shards)) == list(range(size))
    for rank, shard in enumerate(shards):
        sampler = ExactDistributedSampler(dataset(size), num_replicas=world, rank=rank)
        assert isinstance(sampler, DistributedSampler)
        assert len(sampler) == len(shard)
        assert shard == list(range(rank, size, world))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_training_shards_are_disjoint_parts_of_one_order(world):
    whole = list(EpochSampler(dataset(20), seed=4))
    shards = [
        list(EpochSampler(dataset(20), num_replicas=world, rank=rank, seed=4))
        for rank in range(world)
    ]
    assert len({len(shard) for shard in shards}) == 1
    assert len(set(chain.from_iterable(shards))) == 20 // world * world
    assert [index for row in zip(*shards, strict=True) for index in row] == whole[
        : 20 // world * world
    ]


def test_the_order_is_a_function_of_seed_and_epoch():
    first, second = EpochSampler(dataset(50), seed=1), EpochSampler(dataset(50), seed=1)
    torch.manual_seed(0)
    orders = []
    for epoch in range(3):
        first.set_epoch(epoch)
        orders.append(list(first))
        assert sorted(orders[-1]) == list(range(50))
    second.set_epoch(2)
    assert list(second) == orders[2]
    assert orders[0] != orders[1] != orders[2]
    assert list(EpochSampler(dataset(50), seed=2)) != orders[0]
    # A seed is not a shifted epoch.
    assert list(EpochSampler(dataset(50), seed=2)) != orders[1]
