"""Mixup and cutmix are timm's; patches have the labels of what cutmix put in their cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data import Mixup

from vitsearch.lightning.training.mixing import BatchMixer, MixedBatch, Mixing

ALPHAS = [(0.8, 0.0), (0.0, 1.0), (0.3, 1.0)]


def batch(size: int = 8, side: int = 28) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 1, side, side, generator=generator)
    return images, torch.randint(10, (size,), generator=generator)


def mixer(mixup: float, cutmix: float, smoothing: float = 0.1) -> BatchMixer:
    return BatchMixer(mixup=mixup, cutmix=cutmix, label_smoothing=smoothing, num_classes=10)


@pytest.mark.parametrize(("mixup", "cutmix"), ALPHAS)
def test_the_same_seed_gives_what_timm_gives(mixup: float, cutmix: float) -> None:
    images, labels = batch()
    before = images.clone()
    theirs = Mixup(mixup, cutmix, label_smoothing=0.1, num_classes=10)
    np.random.seed(3)
    expected = [theirs(images.clone(), labels) for _ in range(20)]
    np.random.seed(3)
    found = [mixer(mixup, cutmix)(images, labels) for _ in range(20)]
    for (image, target), mixed in zip(expected, found, strict=True):
        mixed_image, mixed_target = mixed
        assert torch.equal(image, mixed_image)
        assert torch.equal(target, mixed_target)
    assert torch.equal(images, before)  # what a loader keeps is not changed
    boxes = [mixed.mixing is not None and mixed.mixing.box is not None for mixed in found]
    assert any(boxes) == bool(cutmix)
    assert all(boxes) == (not mixup)


def test_without_mixing_the_batch_is_as_it_was() -> None:
    images, labels = batch()
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    mixed = mixer(0, 0)(images, labels)
    assert mixed[0] is images
    assert mixed[1] is labels
    assert mixed.mixing is None
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[arg-type,index]


def test_an_odd_batch_mixes_too() -> None:
    images, labels = batch(5)
    np.random.seed(0)
    mixed = mixer(0, 1.0)(images, labels)
    assert torch.equal(mixed[0][2], images[2])  # its own partner


def test_a_pair_stays_a_pair() -> None:
    images, targets = MixedBatch(*batch())
    assert len(images) == len(targets) == 8
    assert MixedBatch(images, targets).mixing is None


@pytest.mark.parametrize("side", [28, 30, 32])
@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 5), (4, 4), (7, 7), (9, 4)])
def test_patch_targets_add_up_to_the_targets_of_the_images(
    grid: tuple[int, int], side: int
) -> None:
    images, labels = batch(side=side)
    np.random.seed(1)
    for _ in range(10):
        mixing = mixer(0, 1.0)(images, labels).mixing
        assert mixing is not None
        targets = mixing.patch_targets(grid)
        assert targets.shape == (8, grid[0] * grid[1], 10)
        torch.testing.assert_close(targets.mean(1), mixing.targets, rtol=0, atol=1e-6)
        torch.testing.assert_close(targets.sum(2), torch.ones(targets.shape[:2]))
        assert targets.min() >= 0


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (7, 7), (5, 3)])
def test_a_patch_has_the_partner_s_label_as_far_as_the_box_covers_it(grid: tuple[int, int]) -> None:
    height, width, factor = 28, 28, 15  # an image so fine that cells of every grid are whole pixels
    own = torch.eye(2, dtype=torch.float64)
    box = (3, 17, 11, 28)
    mixing = Mixing(own=own, lam=0.5, box=box, image_size=(height, width))
    pixels = torch.zeros(height * factor, width * factor, dtype=torch.float64)
    pixels[box[0] * factor : box[1] * factor, box[2] * factor : box[3] * factor] = 1
    cells = pixels.unflatten(0, (grid[0], -1)).unflatten(2, (grid[1], -1)).mean(dim=(1, 3))
    targets = mixing.patch_targets(grid)
    torch.testing.assert_close(targets[0, :, 1], cells.flatten(), rtol=0, atol=1e-12)
    torch.testing.assert_close(targets[1, :, 0], cells.flatten(), rtol=0, atol=1e-12)


def test_mixup_gives_every_patch_the_image_s_target() -> None:
    images, labels = batch()
    np.random.seed(0)
    mixing = mixer(0.8, 0)(images, labels).mixing
    assert mixing is not None
    targets = mixing.patch_targets((3, 3))
    assert targets.shape == (8, 9, 10)
    assert torch.equal(targets, mixing.targets[:, None].expand(-1, 9, -1))
