"""Folders of images: which layout a root has, its classes, its files, and the damaged ones."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vitsearch.data.datasets import UnreadableImage
from vitsearch.data.decode import verify_image
from vitsearch.data.randomness import UInt64Array
from vitsearch.data.splits import ImageTable
from vitsearch.errors import DataError

CorruptPolicy = Literal["skip", "refuse"]

_SPLIT_NAMES = ("train", "test", "val")
_LISTED = 20


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """Where the images of an image folder are.

    Attributes:
        train: Folder with a folder for each class.
        test: The same for the test images, or None if they are to be held out of `train`.
        class_names: Names of the classes, sorted.
    """

    train: Path
    test: Path | None
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, root: Path) -> FolderLayout:
        """Find out the layout of `root`.

        Raises:
            DataError: If there is nothing to train on, or training and test classes differ.
        """
        if not root.is_dir():
            raise DataError(f"root={root} is not a folder")
        names = _subfolders(root)
        if not names:
            raise DataError(f"root={root} holds no class folders (root/<class>/<image>)")
        if not _subfolders(root / "train"):
            if set(names) <= set(_SPLIT_NAMES):
                raise DataError(f"{root / 'train'} holds no class folders (train/<class>/<image>)")
            return cls(train=root, test=None, class_names=names)
        train = root / "train"
        test = next((root / name for name in ("test", "val") if _subfolders(root / name)), None)
        classes = _subfolders(train)
        if test is not None:
            _check_same(train, classes, test, _subfolders(test))
        return cls(train=train, test=test, class_names=classes)


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
    def scan(cls, folder: Path, class_names: Sequence[str]) -> ImageFiles:
        """List the images of each class, in any depth.

        Raises:
            DataError: If a class has no image.
        """
        from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

        class_to_idx = {name: index for index, name in enumerate(class_names)}
        found = make_dataset(str(folder), class_to_idx, extensions=IMG_EXTENSIONS, allow_empty=True)
        paths = tuple(path for path, _ in found)
        labels = [label for _, label in found]
        empty = sorted(set(range(len(class_names))) - set(labels))
        if empty:
            names = _listed([repr(class_names[index]) for index in empty])
            raise DataError(
                f"no image in {folder} for class {names}; legal are {', '.join(IMG_EXTENSIONS)}"
            )
        return cls(paths, ImageTable.of(labels, _path_keys(paths, folder)))

    def __len__(self) -> int:
        return len(self.paths)

    def keep(self, mask: Sequence[bool] | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ImageFiles:
        """The files where `mask` (N,) is True."""
        kept = np.flatnonzero(np.asarray(mask, dtype=bool))
        table = ImageTable(self.table.labels[kept], self.table.keys[kept])
        return ImageFiles(tuple(self.paths[index] for index in kept), table)

    def checked(self, reports: UnreadableReports) -> ImageFiles:
        """The files that pass a check of their structure; the others are reported together."""
        with ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1))) as pool:
            reasons = list(pool.map(verify_image, self.paths))
        damaged = [
            UnreadableImage(path, reason)
            for path, reason in zip(self.paths, reasons, strict=True)
            if reason is not None
        ]
        reports.add(damaged)
        return self.keep([reason is None for reason in reasons]) if damaged else self


@dataclass(slots=True)
class UnreadableReports:
    """Tells the user of damaged files, each once: by a warning, or by an error.

    Attributes:
        policy: `skip` warns, `refuse` raises.
        seen: Paths that were reported.
    """

    policy: CorruptPolicy
    seen: set[str] = field(default_factory=set)

    def add(self, damaged: Sequence[UnreadableImage]) -> None:
        """Report files.

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
        names = _listed([f"{image.path} ({image.reason})" for image in new])
        warnings.warn(f"skipping {len(new)} image(s) that cannot be read: {names}", stacklevel=2)


def _subfolders(folder: Path) -> tuple[str, ...]:
    from torchvision.datasets.folder import find_classes

    try:
        names, _ = find_classes(folder)
    except OSError:  # no such folder, or nothing in it
        return ()
    return tuple(name for name in names if not name.startswith("."))


def _check_same(
    train: Path, train_classes: Sequence[str], test: Path, test_classes: Sequence[str]
) -> None:
    problems = []
    for folder, other, names in (
        (train, test, set(train_classes) - set(test_classes)),
        (test, train, set(test_classes) - set(train_classes)),
    ):
        if names:
            listed = _listed([repr(name) for name in sorted(names)])
            problems.append(f"class {listed} is in {folder} but not in {other}")
    if problems:
        raise DataError("; ".join(problems))


def _path_keys(paths: Sequence[str], folder: Path) -> UInt64Array:
    """Keys that stay the same when other files come or go, and when the folder moves."""
    begin = len(str(folder))
    relative = (path[begin:].replace(os.sep, "/").lstrip("/") for path in paths)
    digests = (hashlib.blake2b(os.fsencode(name), digest_size=8).digest() for name in relative)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)


def _listed(names: Sequence[str]) -> str:
    more = "" if len(names) <= _LISTED else f", and {len(names) - _LISTED} more"
    return ", ".join(names[:_LISTED]) + more
