"""Draws the embedded data set `fashion_mini` from Fashion-MNIST.

    python -m vitsearch.data.make_fashion_mini SOURCE_FOLDER TARGET_FOLDER

It takes the 600 training and the 200 test images of each class whose hashed positions come first,
and keeps them in the order of the source.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vitsearch.data.idx import read_idx, write_idx
from vitsearch.data.randomness import Purpose, hashes
from vitsearch.data.splits import ranks_in_class
from vitsearch.errors import DataError

PER_CLASS = {"train": 600, "t10k": 200}


@dataclass(frozen=True, slots=True, eq=False)
class SourcePart:
    """The training or the test images of Fashion-MNIST.

    Attributes:
        images: (N, H, W) grey pixels.
        labels: (N,) class of each image.
        drawn: (N,) True for the images that `fashion_mini` takes.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    drawn: npt.NDArray[np.bool_]


def read_source(source: Path, prefix: str) -> SourcePart:
    """Read one part of Fashion-MNIST, and draw from it.

    Args:
        source: Folder with the four gzipped files of Fashion-MNIST.
        prefix: `train` or `t10k`.

    Raises:
        DataError: If a file is missing or damaged, or there is not one label for each image.
    """
    images_path = source / f"{prefix}-images-idx3-ubyte.gz"
    labels_path = source / f"{prefix}-labels-idx1-ubyte.gz"
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels"
        )
    hashed = hashes(0, Purpose.EMBEDDED, np.arange(len(labels)))
    drawn = ranks_in_class(labels.astype(np.int64), hashed) < PER_CLASS[prefix]
    return SourcePart(images, labels, drawn)


def make_fashion_mini(source: Path, target: Path) -> None:
    """Write the four files of the embedded data set.

    Args:
        source: Folder with the four gzipped files of Fashion-MNIST.
        target: Folder to write to; created if absent.

    Raises:
        DataError: If a source file is missing or damaged.
    """
    target.mkdir(parents=True, exist_ok=True)
    for prefix in PER_CLASS:
        part = read_source(source, prefix)
        write_idx(target / f"{prefix}-images-idx3-ubyte.gz", part.images[part.drawn])
        write_idx(target / f"{prefix}-labels-idx1-ubyte.gz", part.labels[part.drawn])


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Draw the embedded data set from Fashion-MNIST.")
    parser.add_argument("source", type=Path, help="folder with the files of Fashion-MNIST")
    parser.add_argument("target", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    try:
        make_fashion_mini(arguments.source, arguments.target)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
