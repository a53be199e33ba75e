from __future__ import annotations

import numpy as np
import pytest

from vitsearch.data import FashionMini, ImageFolder, preprocessing_of


class Foreign:
    mean = np.array([0.5, 0.25])
    std = 0.5
    crop_pct = 0.9


def test_what_a_foreign_data_module_says():
    assert preprocessing_of(Foreign()) == {"mean": (0.5, 0.25), "std": 0.5, "crop_pct": 0.9}
    assert preprocessing_of(object()) == {}
    assert preprocessing_of(None) == {}


@pytest.mark.parametrize("options", [{}, {"in_chans": 3, "image_size": 32}])
def test_fashion(options):
    expected = {"mean": (0.286,), "std": (0.353,), "interpolation": "bilinear", "crop_pct": 1.0}
    assert preprocessing_of(FashionMini(**options)) == expected


def test_image_folder(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
    found = preprocessing_of(ImageFolder(tmp_path))
    assert found.pop("interpolation") == "bicubic"
    assert found == {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": 0.875,
    }
    found = preprocessing_of(ImageFolder(tmp_path, crop_pct=1, interpolation="box", mean=0.5))
    assert (found["crop_pct"], found["interpolation"], found["mean"]) == (1.0, "box", (0.5,) * 3)
