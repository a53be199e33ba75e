"""Loaders: PyTorch's `DataLoader` with reports from the main process and a position to resume from.

Iteration is lazy: nothing is read, and no worker is started, before the first batch is asked for.
Lightning creates the iterator of a resumed run before it tells the sampler the epoch, and an eager
loader with workers would then read the wrong epoch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from vitsearch.data.datasets import Batch, EpochDataset
from vitsearch.data.samplers import EpochSampler


class ImageLoader(DataLoader[Any]):
    """Yields `(images, labels)`; leaves out batches in which no image could be read."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in self._fetched():
            if not isinstance(batch, Batch):
                yield batch
                continue
            if batch.unreadable:
                assert isinstance(self.dataset, EpochDataset)
                self.dataset.report(batch)
            if len(batch.labels):
                yield batch.images, batch.labels

    def _fetched(self) -> Iterator[Any]:
        # A generator: the iterator of the base class is created when the first batch is wanted.
        yield from super().__iter__()


class ResumableLoader(ImageLoader):
    """A training loader that goes on in the middle of an epoch.

    Lightning stores `state_dict()` in checkpoints and restores it. The images before the position
    are left out in the sampler, so they are not read again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._position = {"epoch": 0, "batches": 0}
        self._resume: dict[str, int] | None = None

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been handed out."""
        return dict(self._resume or self._position)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Make the next iteration go on after the batches that were handed out already."""
        self._resume = {"epoch": int(state_dict["epoch"]), "batches": int(state_dict["batches"])}

    def _fetched(self) -> Iterator[Any]:
        sampler = self.sampler
        if not isinstance(sampler, EpochSampler):  # Lightning's `overfit_batches` replaces it
            yield from super()._fetched()
            return
        resume, self._resume = self._resume, None
        done = 0
        # A run that stopped at the end of an epoch goes on in the next one, from its first image.
        if resume and resume["epoch"] == sampler.epoch and resume["batches"] < len(self):
            done = resume["batches"]
        position = self._position = {"epoch": sampler.epoch, "batches": done}
        assert self.batch_size is not None
        sampler.start = done * self.batch_size
        for batch in super()._fetched():
            position["batches"] += 1
            yield batch


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
