"""Draws the embedded data set `fashion_mini` from Fashion-MNIST.

    python -m vitsearch.data.make_fashion_mini SOURCE_FOLDER TARGET_FOLDER

It takes the 600 training and the 200 test images of each class whose hashed positions come first,
and keeps them in the order of the source.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from vitsearch.data.idx import read_idx, write_idx
from vitsearch.data.randomness import Purpose, hashes
from vitsearch.data.splits import ranks_in_class
from vitsearch.errors import DataError

PER_CLASS = {"train": 600, "t10k": 200}


def make_fashion_mini(source: Path, target: Path) -> None:
    """Write the four files of the embedded data set.

    Args:
        source: Folder with the four gzipped files of Fashion-MNIST.
        target: Folder to write to; created if absent.

    Raises:
        DataError: If a source file is missing or damaged.
    """
    target.mkdir(parents=True, exist_ok=True)
    for prefix, per_class in PER_CLASS.items():
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz", ndim=3)
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz", ndim=1)
        hashed = hashes(0, Purpose.EMBEDDED, np.arange(len(labels)))
        drawn = ranks_in_class(labels.astype(np.int64), hashed) < per_class
        write_idx(target / f"{prefix}-images-idx3-ubyte.gz", images[drawn])
        write_idx(target / f"{prefix}-labels-idx1-ubyte.gz", labels[drawn])


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
