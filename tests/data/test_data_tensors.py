from __future__ import annotations

import numpy as np
import pytest
import torch

from vitsearch.data import FashionMini
from vitsearch.data.tensors import TensorAugmentation, TensorImages, resized


def images(augmentation, *, count=40, in_chans=1, seed=0):
    pixels = torch.randint(
        1, 256, (count, 1, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return TensorImages(
        pixels,
        torch.arange(count) % 4,
        np.arange(count).astype(np.uint64),
        indices=torch.arange(count),
        in_chans=in_chans,
        mean=(0.5,),
        std=(0.25,),
        augmentation=augmentation,
        seed=seed,
    )


def test_without_augmentation_only_normalises():
    dataset = images(None)
    batch = dataset.__getitems__([3, 1])
    expected = (dataset.images[[3, 1]].float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(batch.images, expected)
    assert batch.labels.tolist() == [3, 1]


def test_each_crop_is_a_window_of_the_padded_image():
    dataset = images(TensorAugmentation(crop_padding=2))
    crops = (dataset.__getitems__(list(range(40))).images * 0.25 + 0.5).mul(255).round()
    seen = set()
    for image, crop in zip(dataset.images, crops, strict=True):
        padded = torch.nn.functional.pad(image, (2, 2, 2, 2)).float()
        matches = [
            (top, left, flip)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            if torch.equal(
                padded[:, top : top + 8, left : left + 6].flip(2)
                if flip
                else padded[:, top : top + 8, left : left + 6],
                crop,
            )
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {flip for _, _, flip in seen} == {False, True}
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(5))


def test_erasing_sets_rectangles_to_the_mean():
    plain = TensorAugmentation(crop_padding=0, horizontal_flip=False)
    erasing = TensorAugmentation(crop_padding=0, horizontal_flip=False, erase_prob=0.5)
    before = images(plain).__getitems__(list(range(40))).images
    after = images(erasing).__getitems__(list(range(40))).images
    erased = (before != after).flatten(1).any(1)
    assert 8 <= int(erased.sum()) <= 32
    assert (after[before != after] == 0).all()
    changed = (before != after)[erased]
    rows, columns = changed.any(3).sum(2), changed.any(2).sum(2)
    assert torch.equal(rows.flatten() * columns.flatten(), changed.sum((1, 2, 3)))


def test_an_image_does_not_depend_on_its_batch():
    dataset = images(TensorAugmentation(erase_prob=0.5))
    together = dataset.__getitems__([40 + 7, 40 + 3]).images
    alone, label = dataset[40 + 3]
    assert torch.equal(alone, together[1])
    assert int(label) == 3
    assert not torch.equal(dataset[3][0], alone)
    assert not torch.equal(
        images(TensorAugmentation(), seed=1)[3][0], images(TensorAugmentation())[3][0]
    )


def test_grey_images_are_repeated():
    batch = images(TensorAugmentation(), in_chans=3).__getitems__([0, 1]).images
    assert batch.shape == (2, 3, 8, 6)
    assert torch.equal(batch[:, 0], batch[:, 2])


def test_resizing():
    pixels = torch.full((3, 1, 28, 28), 77, dtype=torch.uint8)
    assert resized(pixels, 28) is pixels
    assert torch.equal(resized(pixels, 16), torch.full((3, 1, 16, 16), 77, dtype=torch.uint8))


@pytest.mark.parametrize("options", [{"crop_padding": -1}, {"erase_prob": 1.5}])
def test_augmentation_out_of_range(options, one_line_error):
    with one_line_error(*options):
        FashionMini(**options)
