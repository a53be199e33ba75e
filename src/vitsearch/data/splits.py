"""Splits of a labelled set of images: class-balanced, seeded, and independent of global generators.

Every image has a key; within its class an image is ranked by the hash of its key, and a split
takes the first ranks. The membership of an image therefore depends on the seed, on its key and on
the other images of its class, not on the order of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitsearch.data.randomness import Purpose, UInt64Array, hashes
from vitsearch.errors import DataError

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ImageTable:
    """The labels of a set of images, and what identifies each image to the random draws.

    Attributes:
        labels: (N,) class of each image.
        keys: (N,) a stable key for each image; its position where none is given.
    """

    labels: Int64Array
    keys: UInt64Array

    @classmethod
    def of(
        cls,
        labels: npt.ArrayLike,
        keys: npt.ArrayLike | None = None,
    ) -> ImageTable:
        """Build a table from anything that NumPy can read.

        Args:
            labels: (N,) integers.
            keys: (N,) integers, or None to use the positions.
        """
        labels = np.asarray(labels, dtype=np.int64)
        keys = np.arange(len(labels)) if keys is None else np.asarray(keys)
        return cls(labels=labels, keys=keys.astype(np.uint64))

    def __len__(self) -> int:
        return len(self.labels)


def ranks_in_class(labels: Int64Array, hashed: UInt64Array) -> Int64Array:
    """The rank of each image among the images of its class, in the order of their hashes."""
    order = np.lexsort((hashed, labels))
    ordered = labels[order]
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered, side="left")
    return ranks


def class_sizes(table: ImageTable, num_classes: int) -> Int64Array:
    """How many images each class has: (num_classes,)."""
    return np.bincount(table.labels, minlength=num_classes).astype(np.int64)


def hold_out(
    table: ImageTable,
    *,
    class_names: Sequence[str],
    split: str,
    purpose: Purpose,
    seed: int,
    fraction: float,
    per_class: int | None = None,
) -> npt.NDArray[np.bool_]:
    """Choose the images of a held-out split, the same number for each class as far as possible.

    Each class gives `per_class` images, or `fraction` of the mean class size. In the second case a
    small class gives at most half of its images (`fraction` of them, if that is more) and at least
    one.

    Args:
        table: The images to choose from.
        class_names: Names of the classes, for messages.
        split: Name of the split, for messages.
        purpose: Which random numbers rank the images.
        seed: Seed of the split.
        fraction: Part of the images to hold out, in (0, 1).
        per_class: Exact number of images for each class, instead of `fraction`.

    Returns:
        (N,) True for the images that are held out.

    Raises:
        DataError: If a class has too few images to hold out some and keep one.
    """
    sizes = class_sizes(table, len(class_names))
    if per_class is None:
        wanted = max(1, round(fraction * len(table) / len(class_names)))
        cap = np.floor(sizes * max(fraction, 0.5)).astype(np.int64)
        quota = np.minimum(wanted, np.maximum(1, np.minimum(cap, sizes - 1)))
    else:
        quota = np.full(len(class_names), per_class, dtype=np.int64)
    small = np.flatnonzero(sizes <= quota)
    if len(small):
        first = int(small[0])
        raise DataError(
            f"class {class_names[first]!r} has {sizes[first]} images, too few to hold out "
            f"{quota[first]} for the {split} split and keep at least one "
            f"({len(small)} of {len(class_names)} classes are too small)"
        )
    ranks = ranks_in_class(table.labels, hashes(seed, purpose, table.keys))
    held_out: npt.NDArray[np.bool_] = ranks < quota[table.labels]
    return held_out


def mixed_order(
    table: ImageTable, indices: Int64Array, *, purpose: Purpose, seed: int
) -> Int64Array:
    """Order `indices` so that every prefix is as class-balanced as possible.

    Batches in this order hold all classes alike, which the re-estimation of BatchNorm statistics
    needs, and a prefix is a balanced subset.
    """
    hashed = hashes(seed, purpose, table.keys[indices])
    ranks = ranks_in_class(table.labels[indices], hashed)
    ordered: Int64Array = indices[np.lexsort((hashed, ranks))]
    return ordered
