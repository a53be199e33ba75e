"""The user's own images with masks: files of any size, a PNG mask for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from vitsearch.data.folder_walk import say_once
from vitsearch.data.masks.base import IGNORED, MOST_CLASSES, table_of
from vitsearch.data.masks.file_masks import FileMaskOptions, FileMasks
from vitsearch.data.masks.mask_files import MaskFiles, MaskReading, read_classes
from vitsearch.data.masks.mask_layout import MaskLayout
from vitsearch.data.randomness import Purpose
from vitsearch.data.splits import ImageTable, hold_out
from vitsearch.errors import DataError
from vitsearch.errors.checks import check_number, check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

CLASSES_FILE = "classes.txt"


class MaskFolder(FileMasks):
    """Images in `root/images`, and masks of the same names in `root/masks`.

    There may be splits: `root/train` with both folders, and `root/test` or `root/val`. Where there
    is no test folder, `test_fraction` of the images is held out for it before anything else.
    Sub-folders are read; an image `images/a/1.jpg` has the mask `masks/a/1.png`. Images may be of
    any size and of any format that Pillow reads. Masks are PNG files with 8-bit numbers of classes,
    in a palette or as grey values.

    Args:
        root: The folder.
        classes: Names of the classes, in the order of their numbers; those in `root/classes.txt`,
            one a line, where None.
        ignore_label: The number of pixels that are neither learnt nor counted; `None` for none.
        test_fraction: Part of the images that is held out for the test, if they have no folder.
        mean: See `FileMasks`.
        std: See `FileMasks`.
        **options: See `FileMasks`.

    Raises:
        DataError: If an argument is out of range or folders are missing; in `setup`, if an image
            has no mask, or a file is damaged or no mask of its image. The line names the file.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str] | None = None,
        ignore_label: int | None = IGNORED,
        test_fraction: float = 0.2,
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        **options: Unpack[FileMaskOptions],
    ) -> None:
        super().__init__(mean=mean, std=std, **options)
        self.root = Path(root).expanduser()
        self.test_fraction = check_number("test_fraction", test_fraction, "(0, 1)", error=DataError)
        if ignore_label is not None:
            check_whole("ignore_label", ignore_label, 0, 255, error=DataError, otherwise="null")
        self.ignore_label = ignore_label
        self._layout = MaskLayout.of(self.root)
        self.class_names = self._read_classes(classes)

    def reading(self) -> MaskReading:
        """What the values of masks mean."""
        return MaskReading.of_classes(self.num_classes, self.ignore_label)

    def load(self) -> tuple[ImageTable, ImageTable]:
        """List the files, check them, and hold out the test images if they have no folder."""
        left_out = deepcopy(self._layout.left_out)
        train = MaskFiles.scan(self._layout.train, left_out)
        if self._layout.test is not None:
            test = MaskFiles.scan(self._layout.test, left_out)
        else:
            held = hold_out(
                table_of(train.keys),
                class_names=self.groups,
                split="test",
                purpose=Purpose.TEST,
                seed=self.seed,
                fraction=self.test_fraction,
            )
            train, test = train.keep(~held), train.keep(held)
        if line := left_out.line():
            say_once(line)
        return self.take(train, test)

    def _read_classes(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        file = self.root / CLASSES_FILE
        if classes is None and not file.is_file():
            raise DataError(
                f"the classes of root={self.root} are unknown: give classes=[...], or write "
                f"{CLASSES_FILE} into it with a name a line"
            )
        names = read_classes(file) if classes is None else tuple(map(str, classes))
        if not 2 <= len(names) <= MOST_CLASSES:
            raise DataError(f"there are {len(names)} classes; legal are 2 to {MOST_CLASSES}")
        return names
