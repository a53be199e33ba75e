"""Which layout a folder of images with masks has: one of splits, or of images and masks alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitsearch.data.folder_layout import SPLITS, only_split
from vitsearch.data.folder_walk import LeftOut, subfolders
from vitsearch.data.masks.mask_files import IMAGES, MASKS
from vitsearch.errors import DataError


@dataclass(frozen=True, slots=True)
class MaskLayout:
    """Where images and masks are.

    Attributes:
        train: Folder with `images` and `masks`.
        test: The same for the test images, or `None` if they are to be held out of `train`.
        left_out: What lies beside these folders.
    """

    train: Path
    test: Path | None
    left_out: LeftOut

    @classmethod
    def of(cls, root: Path) -> MaskLayout:
        """Find out the layout of `root`.

        Raises:
            DataError: There are no folders `images` and `masks`, or two could be the same split.
        """
        if not root.is_dir():
            raise DataError(f"root={root} is not a folder")
        left_out = LeftOut(root)
        names = subfolders(root, left_out)
        if IMAGES in names and MASKS in names:
            return cls(root, None, left_out)
        both = {IMAGES, MASKS}
        splits = [name for name in names if both <= set(subfolders(root / name, LeftOut(root)))]
        train = only_split("train", splits, root)
        if train is None:
            there = f"; it holds {', '.join(names)}" if names else ""
            raise DataError(
                f"root={root} has no folders {IMAGES} and {MASKS}, and no train with them{there}"
            )
        tests = (only_split(kind, splits, root) for kind in SPLITS if kind != "train")
        test = next((name for name in tests if name), None)
        used = [name for name in (train, test) if name]
        for name in names:
            if name not in used:
                left_out.add(f"beside {' and '.join(used)}", root / name)
        return cls(root / train, root / test if test else None, left_out)
