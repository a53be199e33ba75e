"""Samplers: which image is read when, and by which process.

Both are `DistributedSampler`s, also in a single process, so that Lightning leaves them in place and
the order of the images is the same function of seed and epoch on one process and on many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch.distributed
from torch.utils.data import Dataset, DistributedSampler

from vitsearch.data.datasets import EpochDataset
from vitsearch.data.randomness import permutation


class ExactDistributedSampler(DistributedSampler[int]):
    """Shards a data set over processes without padding: each image is read exactly once.

    `DistributedSampler` repeats images until the shards are of equal length, which biases every
    accuracy computed from them. Here rank r reads the images r, r + n, r + 2n, ... and shards may
    differ in length by one, or be empty: reduce counts at the end of an epoch, not at every step.

    Args:
        dataset: The data set; its length is all that counts.
        num_replicas: Number of processes; that of the process group where None.
        rank: This process; that of the process group where None.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.total_size = len(dataset)  # type: ignore[arg-type]
        self.num_samples = len(range(self.rank, self.total_size, self.num_replicas))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.total_size, self.num_replicas))


class EpochSampler(DistributedSampler[int]):
    """The shuffled training order, a pure function of (seed, epoch), sharded over processes.

    For an `EpochDataset` it yields `epoch * len(dataset) + index`, so that the epoch travels with
    the index into worker processes, and augmentation can depend on it; for any other data set it
    yields plain indices.

    Args:
        dataset: The training images.
        num_replicas: Number of processes.
        rank: This process.
        seed: Seed of the order.

    Attributes:
        start: How many indices of this process the next iteration leaves out (a resumed epoch).
    """

    def __init__(
        self, dataset: Dataset[Any], *, num_replicas: int = 1, rank: int = 0, seed: int = 0
    ) -> None:
        super().__init__(
            dataset,
            num_replicas=num_replicas,
            rank=rank,
            shuffle=True,
            seed=seed,
            drop_last=True,
        )
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)  # type: ignore[arg-type]
        order = permutation(size, self.seed, self.epoch)
        own = order[self.rank :: self.num_replicas][self.start : self.num_samples]
        offset = self.epoch * size if isinstance(self.dataset, EpochDataset) else 0
        return iter((own + offset).tolist())


def process_group() -> tuple[int, int]:
    """Number of processes and rank, from `torch.distributed`; (1, 0) without a process group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0
