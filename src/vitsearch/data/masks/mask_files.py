"""Images and masks in files: which belong together, and whether each mask can be learnt from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from vitsearch.data.decode import one_line, read_image
from vitsearch.data.folder_images import are_images, of_each, path_keys
from vitsearch.data.folder_walk import NO_IMAGES, LeftOut, files_of_classes
from vitsearch.data.masks.base import IGNORED
from vitsearch.data.randomness import UInt64Array
from vitsearch.errors import DataError

IMAGES, MASKS = "images", "masks"
_SUFFIX = ".png"
_INDEXED = ("P", "L", "1")
"""Modes of a mask: numbers of a palette, grey values, or two of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskReading:
    """What the values of masks mean.

    Attributes:
        table: (256,) for each value its class, 255 for pixels that are left out, -1 where it is not
            legal.
        legal: Which values are, in words.
    """

    table: npt.NDArray[np.int16]
    legal: str

    @staticmethod
    def of_classes(num_classes: int, ignore_label: int | None) -> MaskReading:
        """Values are classes, and one perhaps stands for none."""
        meaning = {value: value for value in range(num_classes)}
        legal = f"0 to {num_classes - 1}"
        if ignore_label is not None:
            meaning[ignore_label] = IGNORED
            legal += f", and {ignore_label} for no class"
        return MaskReading.of(meaning, legal)

    @staticmethod
    def of(meaning: Mapping[int, int], legal: str) -> MaskReading:
        """Values with a meaning each; see `table`."""
        table = np.full(256, -1, dtype=np.int16)
        for value, means in meaning.items():
            table[value] = means
        return MaskReading(table=table, legal=legal)

    def read(self, path: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """A mask (H, W) of classes, 255 where pixels are left out.

        Args:
            path: The file.
            size: Width and height of its image.

        Raises:
            DataError: It is no mask of this image; the line names the file.
        """
        try:
            with Image.open(path) as file:
                file.load()
                mode, found = file.mode, file.size
                values = np.asarray(file, dtype=np.uint8) if mode in _INDEXED else None
        except Exception as error:  # Pillow's decoders raise many kinds
            raise DataError(f"mask {path} cannot be read: {one_line(error)}") from None
        if values is None:
            raise DataError(
                f"mask {path} has {_colours(mode)}; it must have 8-bit numbers of classes, in a "
                f"palette or as grey values"
            )
        if found != size:
            raise DataError(
                f"mask {path} has {found[0]} x {found[1]} pixels, its image {size[0]} x {size[1]}"
            )
        return self._checked(values, path)

    def _checked(self, values: npt.NDArray[np.uint8], path: str) -> npt.NDArray[np.uint8]:
        found = self.table[values]
        wrong = values[found < 0]
        if wrong.size:
            raise DataError(f"mask {path} has the label {int(wrong[0])}; legal are {self.legal}")
        return found.astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class MaskFiles:
    """Images, each with its mask.

    Attributes:
        images: (N,) the files, sorted.
        masks: (N,) their masks.
        keys: (N,) from the paths inside their folder.
    """

    images: tuple[str, ...]
    masks: tuple[str, ...]
    keys: UInt64Array

    @classmethod
    def scan(cls, folder: Path, left_out: LeftOut) -> MaskFiles:
        """The images below `folder/images`, and for each the PNG of its name below `folder/masks`.

        Args:
            folder: Where the two folders are.
            left_out: Gets what is no image.

        Raises:
            DataError: There is no image, or one has no mask; the line names it.
        """
        listed, masks = files_of_classes(folder, (IMAGES, MASKS), left_out)
        by_name = {
            _name(path, folder / MASKS): path
            for path in masks
            if os.path.splitext(path)[1].lower() == _SUFFIX
        }
        images = []
        for path, is_image in zip(listed, are_images(listed), strict=True):
            if is_image:
                images.append(path)
            else:
                left_out.add(NO_IMAGES, path)
        if not images:
            raise DataError(f"there is no image in {folder / IMAGES}")
        names = [_name(path, folder / IMAGES) for path in images]
        _check_names(names, images)
        missing = [path for name, path in zip(names, images, strict=True) if name not in by_name]
        if missing:
            expected = folder / MASKS / f"{_name(missing[0], folder / IMAGES)}{_SUFFIX}"
            raise DataError(
                f"image {missing[0]} has no mask {expected}"
                f"{further(len(missing), 'images without a mask')}"
            )
        return cls(
            tuple(images),
            tuple(by_name[name] for name in names),
            path_keys(images, folder / IMAGES),
        )

    def __len__(self) -> int:
        return len(self.images)

    def keep(self, which: npt.NDArray[np.bool_]) -> MaskFiles:
        """Those where `which` (N,) is True."""
        kept = np.flatnonzero(which)
        return MaskFiles(
            tuple(self.images[index] for index in kept),
            tuple(self.masks[index] for index in kept),
            self.keys[kept],
        )

    def problems(self, reading: MaskReading) -> list[str]:
        """A line for each image or mask that is damaged, or where the two do not fit."""

        def problem(index: int) -> str | None:
            try:
                reading.read(self.masks[index], image_size(self.images[index]))
            except DataError as error:
                return str(error)
            return None

        return [line for line in of_each(problem, range(len(self))) if line is not None]


def image_size(path: str) -> tuple[int, int]:
    """Width and height of an image as it is shown, without decoding it where that can be.

    Raises:
        DataError: It cannot be read; the line names it.
    """
    try:
        with Image.open(path) as file:
            turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # EXIF: on its side
            return (file.height, file.width) if turned else (file.width, file.height)
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"image {path} cannot be read: {one_line(error)}") from None


def read_pair(
    image: str, mask: str, in_chans: int, reading: MaskReading
) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    """An image and its mask (H, W).

    Raises:
        DataError: One cannot be read, or they do not fit; the line names the file.
    """
    try:
        shown = read_image(image, in_chans)
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"image {image} cannot be read: {one_line(error)}") from None
    return shown, reading.read(mask, shown.size)


def read_classes(path: Path) -> tuple[str, ...]:
    """The names of the classes, a line each, in the order of their numbers.

    Raises:
        DataError: It cannot be read, or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"{path} names no classes; it must have a name a line")
    return names


def _name(path: str, folder: Path) -> str:
    """Of a file inside a folder, without its suffix."""
    return os.path.splitext(os.path.relpath(path, folder))[0].replace(os.sep, "/")


def _check_names(names: Sequence[str], images: Sequence[str]) -> None:
    """Refuse two images that would share a mask."""
    first: dict[str, str] = {}
    for name, path in zip(names, images, strict=True):
        if name in first:
            raise DataError(
                f"images {first[name]} and {path} would have the same mask; keep one of them"
            )
        first[name] = path


def _colours(mode: str) -> str:
    """What an image of a mode has, in words."""
    if mode.startswith("I") or mode == "F":
        return "16 bits or more a pixel"
    return f"colours (mode {mode})"


def further(count: int, what: str) -> str:
    """How many there are, behind the line for the first; nothing where it is the only one."""
    return "" if count == 1 else f" ({count} {what})"
