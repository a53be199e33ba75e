"""Pascal VOC and Cityscapes, for those who have them, as torchvision finds their files.

Nothing is downloaded: both are had from their makers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitsearch.data.folder_images import path_keys
from vitsearch.data.masks.base import IGNORED
from vitsearch.data.masks.file_masks import FileMaskOptions, FileMasks
from vitsearch.data.masks.mask_files import MaskFiles, MaskReading
from vitsearch.data.splits import ImageTable
from vitsearch.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
YEARS = ("2007", "2008", "2009", "2010", "2011", "2012")


class VOC(FileMasks):
    """Pascal VOC: 20 classes and the background; borders are left out.

    Training images are those of `train`, the search split is cut from them, and `val` is the test
    split. For VOC 2012 these are 1,464 and 1,449 images.

    Args:
        root: The folder that holds `VOCdevkit`.
        year: Which year's.
        mean: See `FileMasks`.
        std: See `FileMasks`.
        **options: See `FileMasks`.

    Raises:
        DataError: If an argument is out of range; in `setup`, if files are missing or damaged.
    """

    class_names = VOC_CLASSES

    def __init__(
        self,
        root: str | Path,
        *,
        year: str | int = "2012",
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        **options: Unpack[FileMaskOptions],
    ) -> None:
        super().__init__(mean=mean, std=std, **options)
        self.root = Path(root).expanduser()
        self.year = str(year)
        if self.year not in YEARS:
            raise DataError(f"year={year} is unknown; legal: {', '.join(YEARS)}")

    def load(self) -> tuple[ImageTable, ImageTable]:
        """The files of `train` and of `val`."""
        from torchvision.datasets import VOCSegmentation

        def files_of(split: str) -> MaskFiles:
            found = _found(
                lambda: VOCSegmentation(self.root, year=self.year, image_set=split),
                f"Pascal VOC {self.year} is not complete in root={self.root}: it must hold "
                f"VOCdevkit/VOC{self.year}, from http://host.robots.ox.ac.uk/pascal/VOC/",
            )
            return _files(found.images, found.masks, self.root)

        return self.take(files_of("train"), files_of("val"))


class Cityscapes(FileMasks):
    """Cityscapes: the 19 classes that are evaluated; all others of its 34 labels are left out.

    Training images are those of `train`, the search split is cut from them, and `val` is the test
    split: 2,975 and 500 images. They are twice as wide as high, and resized to a square.

    Args:
        root: The folder that holds `leftImg8bit` and `gtFine`.
        mean: See `FileMasks`.
        std: See `FileMasks`.
        **options: See `FileMasks`.

    Raises:
        DataError: If an argument is out of range; in `setup`, if files are missing or damaged.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        **options: Unpack[FileMaskOptions],
    ) -> None:
        super().__init__(mean=mean, std=std, **options)
        self.root = Path(root).expanduser()
        self.class_names = tuple(name for name, _ in sorted(_trained(), key=lambda own: own[1]))

    def reading(self) -> MaskReading:
        """Its labels as the numbers of the classes that are evaluated."""
        meaning = {
            own.id: IGNORED if own.train_id in (-1, IGNORED) else own.train_id
            for own in _labels()
            if own.id >= 0
        }
        return MaskReading.of(meaning, "the labels of Cityscapes, 0 to 33")

    def load(self) -> tuple[ImageTable, ImageTable]:
        """The files of `train` and of `val`."""
        from torchvision.datasets import Cityscapes as Reader

        def files_of(split: str) -> MaskFiles:
            found = _found(
                lambda: Reader(self.root, split=split, mode="fine", target_type="semantic"),
                f"Cityscapes is not complete in root={self.root}: it must hold leftImg8bit and "
                f"gtFine, from https://www.cityscapes-dataset.com",
            )
            return _files(found.images, [own[0] for own in found.targets], self.root)

        return self.take(files_of("train"), files_of("val"))


def _labels() -> Sequence[Any]:
    """All labels of Cityscapes, as torchvision lists them."""
    from torchvision.datasets import Cityscapes as Reader

    listed: Sequence[Any] = Reader.classes
    return listed


def _trained() -> list[tuple[str, int]]:
    """Names and numbers of the classes that are evaluated."""
    return [(own.name, own.train_id) for own in _labels() if own.train_id not in (-1, IGNORED)]


def _found(read: Callable[[], Any], missing: str) -> Any:
    try:
        return read()
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{missing} ({reason[:200]})") from None


def _files(images: Sequence[str], masks: Sequence[str], root: Path) -> MaskFiles:
    listed = sorted(zip(map(os.fspath, images), map(os.fspath, masks), strict=True))
    if not listed:
        raise DataError(f"there is no image in root={root}")
    names = [image for image, _ in listed]
    return MaskFiles(tuple(names), tuple(mask for _, mask in listed), path_keys(names, root))
