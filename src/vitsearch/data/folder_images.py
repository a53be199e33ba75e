"""Images in files: which files there are, and each decoded and transformed when it is read.

`ImageFiles` lists and checks the files of a layout; `FolderImages` is a split of them as a data
set. Transforms draw random numbers that are reproducible.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image

from vitsearch.data.datasets import Batch, EpochDataset, UnreadableImage
from vitsearch.data.decode import (
    begins_as_image,
    image_suffixes,
    one_line,
    read_image,
    verify_image,
)
from vitsearch.data.folder_walk import (
    NO_IMAGES,
    LeftOut,
    enumerated,
    files_of_classes,
    say,
    say_once,
)
from vitsearch.data.randomness import Purpose, UInt64Array, global_generators_seeded, hashes
from vitsearch.data.splits import ImageTable, Int64Array
from vitsearch.errors import DataError

Item = TypeVar("Item")
Answer = TypeVar("Answer")
CorruptPolicy = Literal["skip", "refuse"]
Transform = Callable[[Image.Image], torch.Tensor]

_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class ImageFiles:
    """Image files with their labels and keys.

    Attributes:
        paths: (N,) the files, sorted by class and name.
        table: Labels, and keys hashed from the paths inside their folder.
    """

    paths: tuple[str, ...]
    table: ImageTable

    @classmethod
    def scan(cls, folder: Path, class_names: Sequence[str], left_out: LeftOut) -> ImageFiles:
        """List the images of each class, in any depth, whatever their suffix.

        Args:
            folder: Where the class folders are.
            class_names: Their names, sorted.
            left_out: Gets what is not listed.

        Raises:
            DataError: If a class has no image.
        """
        files = files_of_classes(folder, class_names, left_out)
        labels, paths = [], []
        answers = iter(are_images([path for of_class in files for path in of_class]))
        for label, of_class in enumerate(files):
            for path in of_class:
                if next(answers):
                    labels.append(label)
                    paths.append(path)
                else:
                    left_out.add(NO_IMAGES, path)
        empty = sorted(set(range(len(class_names))) - set(labels))
        if empty:
            names = enumerated([repr(class_names[index]) for index in empty], _LISTED)
            words = left_out.in_words()
            raise DataError(
                f"no image in {folder} for class {names}; legal is what Pillow reads, "
                f"such as .jpg or .png{words and f'; {words}'}"
            )
        return cls(tuple(paths), ImageTable.of(labels, path_keys(paths, folder)))

    def __len__(self) -> int:
        return len(self.paths)

    def keep(self, mask: Sequence[bool] | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ImageFiles:
        """The files where `mask` (N,) is True."""
        kept = np.flatnonzero(np.asarray(mask, dtype=bool))
        table = ImageTable(self.table.labels[kept], self.table.keys[kept])
        return ImageFiles(tuple(self.paths[index] for index in kept), table)

    def checked(self, reports: UnreadableReports) -> ImageFiles:
        """The files that pass a check of their structure; the others are reported together."""
        reasons = of_each(verify_image, self.paths)
        damaged = [
            UnreadableImage(path, reason)
            for path, reason in zip(self.paths, reasons, strict=True)
            if reason is not None
        ]
        reports.add(damaged, tell=say_once)
        return self.keep([reason is None for reason in reasons]) if damaged else self


@dataclass(slots=True)
class UnreadableReports:
    """Tells the user of damaged files, each once: by a line, or by an error.

    Attributes:
        policy: `skip` says it, `refuse` raises.
        seen: Paths that were reported.
    """

    policy: CorruptPolicy
    seen: set[str] = field(default_factory=set)

    def add(
        self, damaged: Sequence[UnreadableImage], *, tell: Callable[[str], object] = say
    ) -> None:
        """Report files.

        Args:
            damaged: The files; those reported before are passed over.
            tell: Says a line; `say_once` where every process finds the same files.

        Raises:
            DataError: If the policy is `refuse` and there is a file.
        """
        new = [image for image in damaged if image.path not in self.seen]
        if not new:
            return
        if self.policy == "refuse":
            raise DataError(
                f"{len(new)} image(s) cannot be read, the first is {new[0].path} "
                f"({new[0].reason}); repair or remove them, or set corrupt=skip"
            )
        self.seen.update(image.path for image in new)
        names = enumerated([f"{image.path} ({image.reason})" for image in new], _LISTED)
        tell(f"skipping {len(new)} image(s) that cannot be read: {names}")


class FolderImages(EpochDataset):
    """A split of images in files.

    A file that cannot be decoded is left out of its batch, or replaced by another image of its
    class if `replace`; either way it is named in the batch, and `report` says so or raises.

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
        """Tell the user once of each file.

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


def are_images(paths: Sequence[str]) -> list[bool]:
    """Which files are images: by their suffix, or else by their first bytes."""
    suffixes = image_suffixes()
    known = [os.path.splitext(path)[1].lower() in suffixes for path in paths]
    unknown = [path for path, is_known in zip(paths, known, strict=True) if not is_known]
    answers = iter(of_each(begins_as_image, unknown))
    return [is_known or next(answers) for is_known in known]


def of_each(ask: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """What is said of each, where most of the time is spent waiting for files."""
    with ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(ask, items))


def path_keys(paths: Sequence[str], folder: Path) -> UInt64Array:
    """Keys that stay the same when other files come or go, and when the folder moves."""
    begin = len(str(folder))
    relative = (path[begin:].replace(os.sep, "/").lstrip("/") for path in paths)
    digests = (hashlib.blake2b(os.fsencode(name), digest_size=8).digest() for name in relative)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
