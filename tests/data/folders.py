"""Image folders of any layout, and what a data module makes of them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from tests.data.conftest import draw

from vitsearch.data import ImageFolder

SMALL = {"image_size": 16, "batch_size": 2, "statistics_images": 6}


def fill(root: Path, *folders: str, images: int = 6) -> Path:
    """Draw some images into each of the folders; returns the root."""
    for label, folder in enumerate(folders):
        for number in range(images):
            draw(root / folder / f"{number}.png", label % 3, number)
    return root


def read(root: Path) -> ImageFolder:
    module = ImageFolder(root, **SMALL)
    module.setup()
    return module


def used(module: ImageFolder) -> set[str]:
    """The images of all splits, by their names below the root."""
    ids = chain.from_iterable(module.sample_ids(split) for split in ("train", "search", "test"))
    return {Path(path).relative_to(module.root).as_posix() for path in ids}
