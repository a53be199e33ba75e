"""Images decoded from files, one by one, with transforms whose randomness is reproducible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from vitsearch.data.datasets import Batch, EpochDataset, UnreadableImage
from vitsearch.data.decode import one_line, read_image
from vitsearch.data.folders import ImageFiles, UnreadableReports
from vitsearch.data.randomness import Purpose, global_generators_seeded, hashes
from vitsearch.data.splits import Int64Array
from vitsearch.errors import DataError

Transform = Callable[[Image.Image], torch.Tensor]


class FolderImages(EpochDataset):
    """A split of images in files.

    A file that cannot be decoded is left out of its batch, or replaced by another image of its
    class if `replace`; either way it is named in the batch, and `report` warns or raises.

    Args:
        files: All files of the training or test images.
        indices: (N,) the files of this split.
        transform: From an image to a tensor (C, H, W); may draw from global generators.
        in_chans: 1 or 3.
        image_size: Height and width of the transformed images.
        seed: Seed of the transforms.
        replace: Whether another image of the class takes the place of an unreadable one.
        reports: Whom to tell of unreadable files.
    """

    def __init__(
        self,
        files: ImageFiles,
        *,
        indices: torch.Tensor,
        transform: Transform,
        in_chans: int,
        image_size: int,
        seed: int,
        replace: bool,
        reports: UnreadableReports,
    ) -> None:
        self.indices = indices
        self.transform = transform
        self.in_chans = in_chans
        self.image_size = image_size
        self.seed = seed
        self.replace = replace
        self.reports = reports
        self._paths = [files.paths[index] for index in indices.tolist()]
        self._labels = files.table.labels[indices.numpy()]
        self._keys = files.table.keys[indices.numpy()]

    def __len__(self) -> int:
        return len(self.indices)

    def fetch(self, positions: Int64Array, epochs: Int64Array) -> Batch:
        """Read a batch: images (B, C, H, W) float32, labels (B,), and the unreadable files."""
        keys = self._keys[positions]
        seeds = hashes(self.seed, Purpose.AUGMENTATION, keys, epoch=epochs)
        draws = hashes(self.seed, Purpose.REPLACEMENT, keys, epoch=epochs)
        images: list[torch.Tensor] = []
        labels: list[int] = []
        unreadable: list[UnreadableImage] = []
        irreplaceable: list[str] = []
        for position, seed, draw in zip(positions, seeds, draws, strict=True):
            image = self._read(int(position), unreadable)
            if image is None and self.replace and self.reports.policy == "skip":
                image = self._replacement(int(position), int(draw), unreadable)
                if image is None:
                    irreplaceable.append(self._paths[position])
            if image is not None:
                with global_generators_seeded(int(seed)):
                    images.append(self.transform(image))
                labels.append(int(self._labels[position]))
        shape = (0, self.in_chans, self.image_size, self.image_size)
        return Batch(
            torch.stack(images) if images else torch.empty(shape),
            torch.tensor(labels, dtype=torch.int64),
            tuple(unreadable),
            tuple(irreplaceable),
        )

    def report(self, batch: Batch) -> None:
        """Warn once of each file.

        Raises:
            DataError: If the policy is to refuse, or a class to train on has no readable image.
        """
        self.reports.add(batch.unreadable)
        if batch.irreplaceable:
            raise DataError(
                f"no training image of the class of {batch.irreplaceable[0]} can be read"
            )

    def _read(self, position: int, unreadable: list[UnreadableImage]) -> Image.Image | None:
        path = self._paths[position]
        try:
            return read_image(path, self.in_chans)
        except Exception as error:  # Pillow's decoders raise many kinds
            unreadable.append(UnreadableImage(path, one_line(error)))
            return None

    def _replacement(
        self, position: int, draw: int, unreadable: list[UnreadableImage]
    ) -> Image.Image | None:
        """Another image of the same class: the first readable one, from a random one onwards."""
        others = np.flatnonzero(self._labels == self._labels[position])
        others = np.roll(others[others != position], -(draw % max(1, len(others) - 1)))
        for other in others:
            image = self._read(int(other), unreadable)
            if image is not None:
                return image
        return None


def folder_transform(
    *, augment: bool, options: dict[str, Any], image_size: int, interpolation: str
) -> Transform:
    """A transform of timm: from an image to a normalised tensor.

    Raises:
        DataError: If timm does not accept an option.
    """
    # timm.data pulls in most of timm, which not every user of `vitsearch.data` needs.
    from timm.data import create_transform

    try:
        transform: Transform = create_transform(
            image_size,
            is_training=augment,
            interpolation=interpolation,
            **options,
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"timm refuses the transform options {options}: {one_line(error)}"
        ) from None
    return transform
