"""Segmentation out of the box: scenes of the garments inside the package, with masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from vitsearch.data.base import DataOptions, Part
from vitsearch.data.datasets import Batch, EpochDataset
from vitsearch.data.fashion import CLASS_NAMES, embedded_files
from vitsearch.data.idx import read_idx
from vitsearch.data.masks.base import MaskDataModule, cut_together, table_of
from vitsearch.data.masks.scenes import Garments, Scenes
from vitsearch.data.preprocessing import per_channel
from vitsearch.data.randomness import Purpose, UInt64Array, hashes, uniforms
from vitsearch.data.splits import ImageTable, Int64Array, hold_out
from vitsearch.errors import DataError
from vitsearch.errors.checks import check_flag, check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

_MEAN, _STD = 0.49, 0.2  # of the pixels in [0, 1]
_GARMENT_FRACTION = 1 / 6  # of the training garments, for the scenes of the search split
_TEST_FROM = 2**32  # the number of the first test scene; those to train on count from 0


class FashionScenes(MaskDataModule):
    """Scenes of one to four garments on textured ground, at random sizes and places.

    The classes are the ground and the ten kinds of garments. A scene is a pure function of `seed`
    and its number. Scenes to train on, of the search split and of the test split show different
    garments.

    Args:
        num_images: Scenes to train on, those of the search split included.
        num_test_images: Scenes of the test split.
        crop_margin: Pixels by which a scene is larger than what is seen of it: training sees it
            moved at random, evaluation its middle.
        horizontal_flip: Whether half of the training images are mirrored.
        mean: Mean of the pixels in [0, 1] that images are normalised with, one or one for each
            channel; that of the scenes where None.
        std: Their standard deviation, likewise.
        **options: See `SearchDataModule`; images are 64 x 64 with three channels unless
            `image_size` or `in_chans` (1 or 3) say otherwise.

    Raises:
        DataError: If an argument is out of range.
    """

    native_image_size = 64
    native_in_chans = 3
    class_names = ("ground", *CLASS_NAMES)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation, crop_pct = "bilinear", 1.0

    def __init__(
        self,
        *,
        num_images: int = 2400,
        num_test_images: int = 400,
        crop_margin: int = 4,
        horizontal_flip: bool = True,
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(**options)
        if self.in_chans not in (1, 3):
            raise DataError(f"in_chans={self.in_chans} must be 1 or 3 for scenes")
        self.num_images = check_whole("num_images", num_images, 2, error=DataError)
        self.num_test_images = check_whole("num_test_images", num_test_images, 1, error=DataError)
        self.crop_margin = check_whole("crop_margin", crop_margin, 0, error=DataError)
        self.horizontal_flip = check_flag("horizontal_flip", horizontal_flip)
        self.mean = per_channel("mean", mean, (_MEAN,) * self.in_chans, self.in_chans)
        self.std = per_channel("std", std, (_STD,) * self.in_chans, self.in_chans)
        self._scenes: dict[str, Scenes] = {}

    def load(self) -> tuple[ImageTable, ImageTable]:
        """Divide the garments among the splits; scenes are made when they are read."""
        garments, of_test = (_garments(part) for part in ("train", "test"))
        held = hold_out(
            ImageTable.of(garments.labels),
            class_names=CLASS_NAMES,
            split="search",
            purpose=Purpose.SEARCH,
            seed=self.seed,
            fraction=_GARMENT_FRACTION,
        )
        pools = [garments.keep(~held), garments.keep(held), of_test]
        train = table_of(np.arange(self.num_images))
        test = table_of(_TEST_FROM + np.arange(self.num_test_images))
        in_pool = {"train": self._held_out(train).astype(np.int64), "test": np.full(len(test), 2)}
        height, width = self.size
        size = (height + 2 * self.crop_margin, width + 2 * self.crop_margin)
        for part, table in (("train", train), ("test", test)):
            numbers = table.keys.astype(np.int64)
            self._scenes[part] = Scenes(pools, in_pool[part], numbers, size=size, seed=self.seed)
        return train, test

    def make_dataset(self, part: Part, indices: torch.Tensor, *, augment: bool) -> SceneImages:
        """The scenes at `indices`, each made when it is read."""
        return SceneImages(
            self._scenes[part],
            indices.numpy(),
            keys=self._tables[part].keys[indices.numpy()],
            size=self.size,
            in_chans=self.in_chans,
            mean=self.mean,
            std=self.std,
            moves=augment,
            mirrors=augment and self.horizontal_flip,
            seed=self.seed,
        )


class SceneImages(EpochDataset):
    """A split of scenes.

    Args:
        scenes: Of all splits of a part.
        indices: (N,) those of this split.
        keys: (N,) their keys for random draws.
        size: Rows and columns that are seen of a scene.
        in_chans: 3, or 1 for the mean of the colours.
        mean: Of the pixels in [0, 1], one for each channel.
        std: Their standard deviation, likewise.
        moves: Whether what is seen lies at a random place of the scene, not in its middle.
        mirrors: Whether half of them are mirrored.
        seed: Of these draws.
    """

    def __init__(
        self,
        scenes: Scenes,
        indices: Int64Array,
        *,
        keys: UInt64Array,
        size: tuple[int, int],
        in_chans: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        moves: bool,
        mirrors: bool,
        seed: int,
    ) -> None:
        self._scenes, self._indices, self._keys = scenes, indices, keys
        self._size, self._in_chans, self._seed = size, in_chans, seed
        self._moves, self._mirrors = moves, mirrors
        self._mean = torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1)
        self._std = torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self._indices)

    def fetch(self, positions: Int64Array, epochs: Int64Array) -> Batch:
        """Read a batch: images (B, C, H, W) float32, masks (B, H, W)."""
        images, masks = map(torch.from_numpy, self._scenes.take(self._indices[positions]))
        draws = None
        if self._moves:
            hashed = hashes(self._seed, Purpose.AUGMENTATION, self._keys[positions], epoch=epochs)
            draws = torch.from_numpy(uniforms(hashed, 3))
            if not self._mirrors:
                draws[:, 2] = 1.0
        images, masks = cut_together(images, masks, self._size, draws)
        scaled = images.float().div_(255)
        if self._in_chans == 1:
            scaled = scaled.mean(dim=1, keepdim=True)
        return Batch(scaled.sub_(self._mean).div_(self._std).contiguous(), masks.long())


def _garments(part: Part) -> Garments:
    files = embedded_files(part)
    images, labels = read_idx(files[0], ndim=3), read_idx(files[1], ndim=1)
    return Garments(images, labels.astype(np.int64))
