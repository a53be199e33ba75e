"""Pascal VOC and Cityscapes as their makers lay them out, in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.masks.conftest import write_mask

from vitsearch.data import VOC, Cityscapes
from vitsearch.errors import DataError

SMALL: dict[str, Any] = {"image_size": 8, "batch_size": 1, "statistics_images": 2}


def _image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in (("train", "abcd"), ("val", "ef")):
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            _image(base / "JPEGImages" / f"{name}.jpg", (10, 12))
            mask = np.full((10, 12), 20)
            mask[:4] = 255
            write_mask(base / "SegmentationClass" / f"{name}.png", mask, palette=True)
    return tmp_path


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    for split in ("train", "val", "test"):
        for number in range(3):
            name = f"town_{number:06d}_000019"
            _image(tmp_path / "leftImg8bit" / split / "town" / f"{name}_leftImg8bit.png", (8, 16))
            mask = np.zeros((8, 16))
            mask[2:4], mask[4:6], mask[6:] = 7, 33, 4  # road, bicycle, static
            write_mask(tmp_path / "gtFine" / split / "town" / f"{name}_gtFine_labelIds.png", mask)
    return tmp_path


def test_voc(voc: Path) -> None:
    data = VOC(voc, **SMALL)
    data.setup()
    assert data.num_classes == 21
    assert [len(data.split_indices(s)) for s in ("train", "search", "test")] == [3, 1, 2]  # type: ignore[arg-type]
    _, masks = next(iter(data.test_dataloader()))
    assert set(masks.unique().tolist()) == {20, 255}


def test_the_labels_of_cityscapes_become_its_classes(cityscapes: Path) -> None:
    data = Cityscapes(cityscapes, **SMALL)
    data.setup()
    assert data.num_classes == 19
    assert (data.class_names[0], data.class_names[18]) == ("road", "bicycle")
    _, masks = next(iter(data.test_dataloader()))
    assert masks[0, :, 0].tolist() == [255, 255, 0, 0, 18, 18, 255, 255]


@pytest.mark.parametrize("kind", [VOC, Cityscapes])
def test_missing_files_are_one_line(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"is not complete in root={tmp_path}[^\n]*$"):
        kind(tmp_path, **SMALL).setup()


def test_another_year_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="year=2013 is unknown; legal: 2007"):
        VOC(tmp_path, year=2013)
