"""Folders of images with masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


def write_mask(path: Path, values: np.ndarray, *, palette: bool = False) -> Path:
    """A grey PNG of these numbers, or one with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image.putpalette([number % 256 for number in range(3 * 256)])
        assert image.mode == "P"
    image.save(path)
    return path


@pytest.fixture
def write_pairs(tmp_path: Path) -> Write:
    """Write images and masks into a folder: bright where the mask says 1, a border of 255."""

    def write(name: str = "root", count: int = 12, classes: bool = True) -> Path:
        root = tmp_path / name
        for number in range(count):
            rng = np.random.default_rng(number)
            height, width = 20 + 3 * (number % 4), 24 + 5 * (number % 3)
            mask = np.zeros((height, width), dtype=np.uint8)
            mask[:, : width // 2] = 1
            pixels = rng.integers(0, 60, (height, width, 3)) + 150 * mask[:, :, None]
            mask[0] = 255
            end = ("png", "jpg", "bmp")[number % 3]
            path = root / "images" / f"part {number % 2}" / f"{number}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            write_mask(
                root / "masks" / f"part {number % 2}" / f"{number}.png",
                mask,
                palette=number % 2 == 0,
            )
        if classes:
            (root.parent if "/" in name else root).joinpath("classes.txt").write_text("dark\nlit\n")
        return root

    return write
