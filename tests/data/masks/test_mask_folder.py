"""The user's own images with masks: what is read, and the line for each file that cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.masks.conftest import Write, write_mask

from vitsearch.data import MaskFolder
from vitsearch.errors import DataError

SMALL: dict[str, Any] = {"image_size": 16, "batch_size": 2, "statistics_images": 4}


def read(root: Path, **settings: Any) -> MaskFolder:
    module = MaskFolder(root, **{**SMALL, **settings})
    module.setup()
    return module


def pairs(module: MaskFolder, split: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = module.evaluation_dataloader(split, shard=False)  # type: ignore[arg-type]
    return [(x, y) for images, masks in loader for x, y in zip(images, masks, strict=True)]


def read_everything(root: Path, **settings: Any) -> None:
    module = read(root, **settings)
    for split in ("train", "search", "test"):
        pairs(module, split)


def test_images_and_masks_belong_together(write_pairs: Write) -> None:
    module = read(write_pairs())
    assert module.class_names == ("dark", "lit")
    sizes = [len(module.split_indices(s)) for s in ("train", "search", "test")]  # type: ignore[arg-type]
    assert sum(sizes) == 12
    assert min(sizes) >= 2
    listed = [path for s in ("train", "search", "test") for path in module.sample_ids(s)]
    assert len(set(listed)) == 12
    for split in ("train", "search", "test"):
        for image, mask in pairs(module, split):
            assert image.shape == (3, 16, 16)
            assert mask.shape == (16, 16)
            assert set(mask.unique().tolist()) <= {0, 1, 255}
            assert set(mask[1:].unique().tolist()) == {0, 1}  # the border is left out
            lit, dark = image[:, 2:][:, mask[2:] == 1], image[:, 2:][:, mask[2:] == 0]
            assert lit.mean() - dark.mean() > 1


def test_whatever_moves_an_image_moves_its_mask(write_pairs: Write) -> None:
    module = read(write_pairs(), scale=[0.2, 1.0], color_jitter=0.1)
    loader = module.train_dataloader()
    seen = set()
    for epoch in range(6):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for images, masks in loader:
            assert set(masks.unique().tolist()) <= {0, 1, 255}
            seen |= {tuple(mask.flatten().tolist()) for mask in masks}
            for image, mask in zip(images, masks, strict=True):
                inside = mask != 255
                if {0, 1} <= set(mask[inside].tolist()):
                    assert image[:, mask == 1].mean() > image[:, mask == 0].mean() + 0.5
    assert len(seen) > 12


def test_augmentation_depends_on_the_epoch_and_the_image_alone(write_pairs: Write) -> None:
    module, again = read(write_pairs()), read(write_pairs("root"), batch_size=4)
    positions = np.arange(4)
    first, other = (
        m.make_dataset("train", m.split_indices("train"), augment=True) for m in (module, again)
    )
    torch.manual_seed(1)
    whole = first.fetch(positions, np.full(4, 3))
    torch.manual_seed(2)
    one = other.fetch(positions[2:3], np.array([3]))
    assert torch.equal(whole.images[2], one.images[0])
    assert torch.equal(whole.labels[2], one.labels[0])


def test_folders_of_splits(write_pairs: Write) -> None:
    root = write_pairs("all/train", count=6).parent
    write_pairs("all/val", count=4)
    module = read(root, batch_size=1)
    assert len(module.split_indices("test")) == 4
    assert all("/val/images/" in path for path in module.sample_ids("test"))
    assert all("/train/images/" in path for path in module.sample_ids("train"))


def test_a_label_of_one_s_own_is_left_out(write_pairs: Write) -> None:
    root = write_pairs()
    module = read(root, classes=["nothing", "lit"], ignore_label=0, check_files=False)
    with pytest.raises(DataError, match="has the label 255; legal are 0 to 1, and 0 for no class"):
        pairs(module, "test")
    for path in root.rglob("masks/*/*.png"):
        values = np.asarray(Image.open(path)).copy()
        values[values == 255] = 0
        write_mask(path, values)
    module = read(root, classes=["nothing", "lit"], ignore_label=0)
    assert {int(n) for _, mask in pairs(module, "test") for n in mask.unique()} == {1, 255}


def _rgb(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


def _of(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def _shape(path: Path) -> tuple[int, int]:
    width, height = Image.open(path).size
    return height, width


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other size": (lambda p: _of(p, np.zeros((6, 5), np.uint8)), "has 5 x 6 pixels, its image"),
    "no class": (
        lambda p: _of(p, np.full(_shape(p), 7, np.uint8)),
        "has the label 7; legal are 0 to 1, and 255 for no class",
    ),
    "missing": (lambda p: p.unlink(), "has no mask"),
    "colours": (_rgb, "has colours (mode RGB); it must have 8-bit numbers of classes"),
    "16 bits": (
        lambda p: _of(p, np.zeros(_shape(p), np.uint16)),
        "has 16 bits or more a pixel; it must have 8-bit numbers of classes",
    ),
    "damaged": (lambda p: p.write_bytes(b"nothing"), "cannot be read"),
}


@pytest.mark.parametrize("check_files", [True, False])
@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_mask_is_one_line_that_names_it(
    kind: str, check_files: bool, write_pairs: Write
) -> None:
    root = write_pairs()
    path = root / "masks" / "part 1" / "3.png"
    spoil, message = BAD[kind]
    spoil(path)
    with pytest.raises(DataError) as error:
        read_everything(root, check_files=check_files)
    line = str(error.value)
    assert "\n" not in line
    assert str(path) in line
    assert message in line


def test_a_bad_mask_is_one_line_from_workers_too(write_pairs: Write) -> None:
    root = write_pairs()
    for number in (1, 3, 5, 7):
        _rgb(root / "masks" / "part 1" / f"{number}.png")
    with pytest.raises(DataError, match=r"^mask .*has colours \(mode RGB\)[^\n]*$"):
        read_everything(root, check_files=False, num_workers=1)
    with pytest.raises(DataError, match=r"\(4 such files\)$"):
        read(root)


def test_a_damaged_image_is_one_line(write_pairs: Write) -> None:
    root = write_pairs()
    path = root / "images" / "part 1" / "3.png"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=f"image {path} cannot be read"):
        read(root)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda r: shutil.rmtree(r / "masks"), {}, "has no folders images and masks"),
        (lambda r: (r / "classes.txt").unlink(), {}, "give classes="),
        (lambda r: None, {"classes": ["one"]}, "there are 1 classes; legal are 2 to 255"),
        (lambda r: None, {"ignore_label": 256}, "ignore_label=256"),
        (lambda r: None, {"interpolation": "cubic"}, "interpolation=cubic is unknown"),
        (lambda r: (r / "classes.txt").write_text("\n"), {}, "names no classes"),
        (
            lambda r: shutil.copy(r / "images/part 1/3.png", r / "images/part 1/3.gif"),
            {},
            "would have the same mask",
        ),
    ],
)
def test_folders_and_settings_that_are_refused(
    change: Callable[[Path], Any], settings: dict[str, Any], message: str, write_pairs: Write
) -> None:
    root = write_pairs()
    change(root)
    with pytest.raises(DataError) as error:
        read(root, **settings)
    assert message in str(error.value)


def test_images_on_their_side_fit_their_upright_masks(write_pairs: Write) -> None:
    root = write_pairs()
    path = root / "images" / "part 1" / "1.jpg"
    image = Image.open(path)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    read(root)
