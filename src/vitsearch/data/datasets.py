"""The data sets' side of reproducible loading: whole batches, addressed by epoch and position.

An `EpochDataset` of N images reads the number `epoch * N + position` as the image at `position`,
augmented as in `epoch`. Plain positions 0..N-1 are epoch 0, so the data set also works with
samplers that know nothing of this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from vitsearch.data.splits import Int64Array


class UnreadableImage(NamedTuple):
    """An image file that could not be decoded, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What an `EpochDataset` fetches at once.

    Attributes:
        images: (B, C, H, W) float32, normalised.
        labels: (B,) int64; or masks (B, H, W).
        unreadable: Files that failed; the loader reports them in the main process.
        irreplaceable: Paths for which no other image of the class could be read either.
    """

    images: torch.Tensor
    labels: torch.Tensor
    unreadable: tuple[UnreadableImage, ...] = ()
    irreplaceable: tuple[str, ...] = ()

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; `DataLoader` calls this."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


class EpochDataset(Dataset[tuple[torch.Tensor, torch.Tensor]], ABC):
    """Images whose augmentation is a pure function of (seed, epoch, image)."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def fetch(self, positions: Int64Array, epochs: Int64Array) -> Batch:
        """Read a batch.

        Args:
            positions: (B,) in 0..N-1.
            epochs: (B,) epoch of each image.
        """

    def report(self, batch: Batch) -> None:
        """Tell the user of files that failed; called in the main process. Does nothing here."""

    def __getitems__(self, numbers: list[int]) -> Batch:
        """Fetch a whole batch; PyTorch's loader prefers this to `__getitem__`."""
        epochs, positions = np.divmod(np.asarray(numbers, dtype=np.int64), len(self))
        return self.fetch(positions, epochs)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One image (C, H, W) and its label ()."""
        if number < 0:
            raise IndexError(f"index {number} is negative")
        batch = self.__getitems__([number])
        self.report(batch)
        if not len(batch.labels):
            raise IndexError(f"image {number % len(self)} cannot be read")
        return batch.images[0], batch.labels[0]


def as_is(batch: Any) -> Any:
    """The collate function of data sets that fetch whole batches."""
    return batch
