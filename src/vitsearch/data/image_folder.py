"""The user's own images: a folder for each class, files of any size and mode."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from vitsearch.data.base import (
    DataOptions,
    Part,
    SearchDataModule,
    Split,
)
from vitsearch.data.folder_images import (
    CorruptPolicy,
    FolderImages,
    ImageFiles,
    UnreadableReports,
    folder_transform,
)
from vitsearch.data.folder_layout import FolderLayout, note_splits_within
from vitsearch.data.folder_walk import LeftOut, say_once
from vitsearch.data.preprocessing import per_channel
from vitsearch.data.randomness import Purpose
from vitsearch.data.splits import ImageTable, hold_out
from vitsearch.errors import DataError
from vitsearch.errors.checks import check_number, check_one_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

# ImageNet's, as everywhere in timm; for grey images the mean over the channels.
MEAN = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
STD = {1: (0.226,), 3: (0.229, 0.224, 0.225)}
_CROP_PCT = 0.875
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


class ImageFolder(SearchDataModule):
    """Images in folders named like their classes.

    Two layouts: `root/train/<class>/*` with `root/test/<class>/*` or `root/val/<class>/*`, or
    `root/<class>/*` alone. Where there is no test folder, `test_fraction` of the images is held out
    for it before anything else. Every file that Pillow reads counts, whatever its suffix, and is
    shown as its EXIF orientation says. Hidden files and folders, and files that are no images, are
    left out; `setup` counts them in one line on stderr.

    Args:
        root: The folder.
        test_fraction: Part of the images that is held out for the test, if they have no folder.
        scale: Smallest and largest area of a random crop, as a part of the image.
        ratio: Smallest and largest width / height of a random crop.
        hflip: Probability that a training image is mirrored.
        vflip: Probability that a training image is turned upside down.
        color_jitter: Strength of the change of brightness, contrast and saturation; 0: none.
        auto_augment: timm's policy, such as `rand-m9-mstd0.5-inc1`; none where None.
        re_prob: Probability that a random rectangle is erased.
        re_mode: What fills it: `const`, `rand` or `pixel`.
        interpolation: Interpolation of resized images in evaluation.
        train_interpolation: Interpolation in training; `random` mixes bilinear and bicubic.
        crop_pct: Part of the resized image that is evaluated, in (0, 1]; timm's 0.875 where None.
        mean: Mean of the pixels in [0, 1], one or one for each channel; ImageNet's where None.
        std: Standard deviation of the pixels, likewise.
        corrupt: What to do with damaged images: `skip` them and name them on stderr, or `refuse`
            with an error.
        check_files: Whether the structure of every file is checked in `setup`.
        **options: See `SearchDataModule`; images are 224 x 224 RGB unless `image_size` or
            `in_chans` (1 or 3) say otherwise.

    Raises:
        DataError: If an argument is out of range, or `root` holds no classes; in `setup`, if a
            class is empty, or files are damaged and `corrupt` is `refuse`.
    """

    native_image_size = 224
    native_in_chans = 3

    def __init__(
        self,
        root: str | Path,
        *,
        test_fraction: float = 0.2,
        scale: Iterable[float] = (0.5, 1.0),
        ratio: Iterable[float] = (3 / 4, 4 / 3),
        hflip: float = 0.5,
        vflip: float = 0.0,
        color_jitter: float = 0.0,
        auto_augment: str | None = None,
        re_prob: float = 0.0,
        re_mode: str = "const",
        interpolation: str = "bicubic",
        train_interpolation: str = "bicubic",
        crop_pct: float | None = None,
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        corrupt: CorruptPolicy = "skip",
        check_files: bool = True,
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(**options)
        if self.in_chans not in MEAN:
            raise DataError(f"in_chans={self.in_chans} must be 1 or 3 for an image folder")
        check_one_of("corrupt", corrupt, get_args(CorruptPolicy), error=DataError)
        check_one_of("interpolation", interpolation, _INTERPOLATIONS, error=DataError)
        check_one_of(
            "train_interpolation",
            train_interpolation,
            (*_INTERPOLATIONS, "random"),
            error=DataError,
        )
        self.root = Path(root).expanduser()
        self.test_fraction = check_number("test_fraction", test_fraction, "(0, 1)", error=DataError)
        self.check_files = check_files
        self.reports = UnreadableReports(corrupt)
        self.mean = per_channel("mean", mean, MEAN[self.in_chans], self.in_chans)
        self.std = per_channel("std", std, STD[self.in_chans], self.in_chans)
        self.interpolation = interpolation
        self.crop_pct = _crop_pct(crop_pct)
        normalisation = {"mean": self.mean, "std": self.std}
        self._transforms = {
            True: folder_transform(
                augment=True,
                image_size=self.size[0],
                interpolation=train_interpolation,
                options={
                    **normalisation,
                    "scale": pair_of("scale", scale),
                    "ratio": pair_of("ratio", ratio),
                    "hflip": check_number("hflip", hflip, "[0, 1]", error=DataError),
                    "vflip": check_number("vflip", vflip, "[0, 1]", error=DataError),
                    "color_jitter": color_jitter or None,
                    "auto_augment": auto_augment,
                    "re_prob": check_number("re_prob", re_prob, "[0, 1]", error=DataError),
                    "re_mode": re_mode,
                },
            ),
            False: folder_transform(
                augment=False,
                image_size=self.size[0],
                interpolation=interpolation,
                options={**normalisation, "crop_pct": self.crop_pct},
            ),
        }
        self._layout = FolderLayout.of(self.root)
        self.class_names = self._layout.class_names
        self._files: dict[Part, ImageFiles] = {}

    def load(self) -> tuple[ImageTable, ImageTable]:
        """List the files, check them, and hold out the test images if they have no folder."""
        left_out = deepcopy(self._layout.left_out)
        train = self._scan(self._layout.train, left_out)
        if self._layout.test is not None:
            test = self._scan(self._layout.test, left_out)
        else:
            held_out = hold_out(
                train.table,
                class_names=self.class_names,
                split="test",
                purpose=Purpose.TEST,
                seed=self.seed,
                fraction=self.test_fraction,
            )
            train, test = train.keep(~held_out), train.keep(held_out)
        if line := left_out.line():
            say_once(line)
        self._files = {"train": train, "test": test}
        return train.table, test.table

    def make_dataset(self, part: Part, indices: torch.Tensor, *, augment: bool) -> FolderImages:
        """The images at `indices`, decoded when they are read."""
        return FolderImages(
            self._files[part],
            indices=indices,
            transform=self._transforms[augment],
            in_chans=self.in_chans,
            image_size=self.size[0],
            seed=self.seed,
            replace=augment,
            reports=self.reports,
        )

    def sample_ids(self, split: Split) -> list[str]:
        """The paths of the images of a split."""
        indices = self.split_indices(split).tolist()
        files = self._files["test" if split == "test" else "train"]
        return [files.paths[index] for index in indices]

    def unreadable_ids(self) -> set[str]:
        """The paths of the files that could not be read, those found at the start included."""
        return set(self.reports.seen)

    def _scan(self, folder: Path, left_out: LeftOut) -> ImageFiles:
        files = ImageFiles.scan(folder, self.class_names, left_out)
        note_splits_within(files, folder, left_out)
        if not self.check_files:
            return files
        sound = files.checked(self.reports)
        lost = np.setdiff1d(files.table.labels, sound.table.labels)
        if len(lost):
            raise DataError(
                f"no image of class {self._names(lost.tolist())} in {folder} can be read"
            )
        return sound


def pair_of(name: str, value: Iterable[float]) -> tuple[float, float]:
    """The ends of a range of positive numbers.

    Raises:
        DataError: They are none.
    """
    numbers = tuple(float(number) for number in value)
    if len(numbers) != 2 or not 0 < numbers[0] <= numbers[1]:
        raise DataError(f"{name}={list(numbers)} must be two numbers, 0 < first <= second")
    return numbers[0], numbers[1]


def _crop_pct(value: float | None) -> float:
    if value is None:
        return _CROP_PCT
    return check_number("crop_pct", value, "(0, 1]", error=DataError)
