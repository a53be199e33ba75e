"""Scenes: a pure function of seed and number, with masks that fit, and garments of their split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vitsearch.data import FashionScenes
from vitsearch.data.masks import scenes as module
from vitsearch.data.masks.fashion_scenes import _garments
from vitsearch.data.masks.scenes import make_scene, silhouette
from vitsearch.errors import DataError

FEW: dict[str, Any] = {"num_images": 30, "num_test_images": 6, "batch_size": 4}


def all_of(data: FashionScenes, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    loader = data.evaluation_dataloader(split, shard=False)  # type: ignore[arg-type]
    images, masks = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(masks)


def test_a_scene_is_a_function_of_seed_and_number() -> None:
    garments = _garments("test")
    np.random.seed(0)
    image, mask = make_scene(garments, seed=3, number=7, size=(40, 50))
    np.random.seed(1)
    again, same = make_scene(garments, seed=3, number=7, size=(40, 50))
    assert image.shape == (40, 50, 3)
    assert mask.shape == (40, 50)
    assert np.array_equal(image, again)
    assert np.array_equal(mask, same)
    for other in ({"seed": 4, "number": 7}, {"seed": 3, "number": 8}):
        changed, _ = make_scene(garments, size=(40, 50), **other)
        assert not np.array_equal(image, changed)


def test_masks_have_the_classes_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one garment to choose from, a mask is ground and that garment."""
    every = _garments("test")
    for label in range(10):
        one = every.keep(np.arange(len(every)) == np.flatnonzero(every.labels == label)[0])
        masks = [make_scene(one, seed=0, number=n, size=(48, 48))[1] for n in range(4)]
        assert {int(n) for mask in masks for n in np.unique(mask)} == {0, label + 1}
        share = np.mean([mask > 0 for mask in masks])
        assert 0.02 < share < 0.9
    lit = _garments("test").images[0]
    inside = silhouette(lit)
    assert np.all(inside[lit > module._FABRIC] == 1)
    assert not inside[[0, -1, 0, -1], [0, 0, -1, -1]].any()


def test_splits_show_different_garments(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: dict[int, set[int]] = {}
    plain = make_scene

    def watched(garments: Any, *, seed: int, number: int, size: tuple[int, int]) -> Any:
        pools[number] = {hash(image.tobytes()) for image in garments.images}
        return plain(garments, seed=seed, number=number, size=size)

    monkeypatch.setattr(module, "make_scene", watched)
    data = FashionScenes(**FEW, search_per_class=5)
    seen = {}
    for split in ("train", "search", "test"):
        pools.clear()
        all_of(data, split)
        assert len({frozenset(pool) for pool in pools.values()}) == 1
        seen[split] = next(iter(pools.values()))
    assert len(data.split_indices("search")) == 5
    assert len(seen["train"] | seen["search"]) == len(seen["train"]) + len(seen["search"]) > 5900
    assert not seen["test"] & (seen["train"] | seen["search"])


def test_data_modules_of_one_seed_are_alike() -> None:
    one, same = (FashionScenes(**FEW, seed=2) for _ in range(2))
    list(same.test_dataloader())  # in another order of reading
    for split in ("train", "search", "test"):
        for first, second in zip(all_of(one, split), all_of(same, split), strict=True):
            assert torch.equal(first, second)
    another = all_of(FashionScenes(**FEW, seed=3), "test")[0]
    assert not torch.equal(all_of(one, "test")[0], another)


def test_training_moves_and_mirrors_image_and_mask_alike() -> None:
    data = FashionScenes(**FEW, crop_margin=3)
    still = data.make_dataset("train", data.split_indices("train"), augment=False)
    moving = data.make_dataset("train", data.split_indices("train"), augment=True)
    positions = np.arange(8)
    seen, before = set(), still.fetch(positions, np.zeros(8, dtype=np.int64))
    for epoch in range(12):
        now = moving.fetch(positions, np.full(8, epoch))
        for n in range(8):
            places = [
                (dy, dx, flip)
                for dy in range(-3, 4)
                for dx in range(-3, 4)
                for flip in (False, True)
                if _agrees(before, now, n, dy, dx, flip)
            ]
            assert len(places) == 1  # of image and mask at once
            seen.add(places[0])
    assert len(seen) > 40
    assert not (now.labels == 255).any()


def _agrees(before: Any, now: Any, n: int, dy: int, dx: int, flip: bool) -> bool:
    """Whether the middle of what is seen now is that of before, moved."""
    middle = slice(3, 61)
    rows = slice(3 + dy, 61 + dy)
    columns = slice(3 + dx, 61 + dx)
    for own, other in ((before.images[n], now.images[n]), (before.labels[n], now.labels[n])):
        shown = other.flip(-1) if flip else other
        if not torch.equal(own[..., rows, columns], shown[..., middle, middle]):
            return False
    return True


def test_grey_scenes_of_another_size() -> None:
    data = FashionScenes(**FEW, image_size=32, in_chans=1)
    images, masks = all_of(data, "search")
    assert images.shape[1:] == (1, 32, 32)
    assert masks.shape[1:] == (32, 32)
    assert abs(float(images.mean())) < 0.5
    assert 0.5 < float(images.std()) < 1.5


@pytest.mark.parametrize(
    "settings",
    [{"in_chans": 2}, {"num_images": 1}, {"crop_margin": -1}, {"num_test_images": 0}],
)
def test_settings_that_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(settings))):
        FashionScenes(**settings)
