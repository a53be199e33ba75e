"""Which layout an image folder has: one of splits, or of classes alone."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitsearch.data.folder_images import ImageFiles, are_images
from vitsearch.data.folder_walk import (
    OUTSIDE,
    LeftOut,
    enumerated,
    files_of_classes,
    loose_files,
    subfolders,
)
from vitsearch.errors import DataError

# Names of splits; the first kind after `train` that is there is the test split.
SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "eval": ("eval", "evaluation"),
    "val": ("val", "valid", "validation", "dev", "development"),
}
_LISTED = 20


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """Where the images of an image folder are.

    Attributes:
        train: Folder with a folder for each class.
        test: The same for the test images, or None if they are to be held out of `train`.
        class_names: Names of the classes, sorted.
        left_out: What lies beside the class folders, and remarks on the layout.
    """

    train: Path
    test: Path | None
    class_names: tuple[str, ...]
    left_out: LeftOut

    @classmethod
    def of(cls, root: Path) -> FolderLayout:
        """Find out the layout of `root`.

        Folders named like splits are splits if one to train on holds class folders, and if all
        folders with images are named like that or two splits have a class in common. Otherwise
        they are classes that happen to have such a name.

        Raises:
            DataError: If there is nothing to train on, training and test classes differ, or two
                folders could be the same split.
        """
        if not root.is_dir():
            raise DataError(f"root={root} is not a folder")
        left_out = LeftOut(root)
        names = subfolders(root, left_out)
        if not names:
            words = left_out.in_words()
            raise DataError(
                f"root={root} holds no class folders (root/<class>/<image>){words and f'; {words}'}"
            )
        named = [name for name in names if kind_of_split(name)]
        found = {name: subfolders(root / name, LeftOut(root)) for name in named}
        splits = {name: classes for name, classes in found.items() if classes}
        others = [name for name in names if name not in named]
        if not others and "train" not in map(kind_of_split, splits):
            raise DataError(
                f"root={root} holds splits ({', '.join(names)}), but no class folders to train on "
                "(train/<class>/<image>)"
            )
        if _are_splits(root, splits, others):
            return cls._of_splits(names, splits, left_out)
        _note_classes(names, splits, left_out)
        _note_loose_images([root], left_out)
        return cls(root, None, names, left_out)

    @classmethod
    def _of_splits(
        cls, names: Sequence[str], splits: Mapping[str, Sequence[str]], left_out: LeftOut
    ) -> FolderLayout:
        """The layout of a root with these folders, of which `splits` hold class folders."""
        root = left_out.root
        train = only_split("train", splits, root)
        assert train is not None
        tests = (only_split(kind, splits, root) for kind in SPLITS if kind != "train")
        test = next((name for name in tests if name), None)
        used = [name for name in (train, test) if name]
        for name in names:
            if name not in used:
                bare = kind_of_split(name) and name not in splits
                reason = "without class folders" if bare else f"beside {' and '.join(used)}"
                left_out.add(reason, root / name)
        classes = [subfolders(root / name, left_out) for name in used]
        if test:
            _check_same(root / train, classes[0], root / test, classes[1])
        _note_classes(classes[0], (), left_out)
        _note_loose_images([root, *(root / name for name in used)], left_out)
        return cls(root / train, root / test if test else None, classes[0], left_out)


def note_splits_within(files: ImageFiles, folder: Path, left_out: LeftOut) -> None:
    """Remark on splits inside the classes (`<class>/train`, `<class>/test`), which count as one.

    Only where every class has them: a single class may well have a sub-folder of such a name.
    """
    kinds: dict[int, dict[str, str]] = {}
    folders = {*zip(files.table.labels.tolist(), map(os.path.dirname, files.paths), strict=True)}
    for label, path in folders:
        kinds.setdefault(label, {})
        inside = Path(path).relative_to(folder).parts[1:]
        kind = kind_of_split(inside[0]) if inside else None
        if kind:
            kinds[label][kind] = inside[0]
    if all("train" in found and len(found) > 1 for found in kinds.values()):
        names = " and ".join(sorted(kinds[0].values()))
        left_out.remarks.append(
            f"{names} inside of every class are read as one; for splits, put them outside: "
            f"{kinds[0]['train']}/<class>"
        )


def kind_of_split(name: str) -> str | None:
    """Which split a folder's name speaks of, as in `Validation` or `test_set`; often none."""
    word = re.sub(r"[ _-]?set$", "", name.casefold())
    return next((kind for kind, words in SPLITS.items() if word in words), None)


def _are_splits(root: Path, splits: Mapping[str, Sequence[str]], others: Sequence[str]) -> bool:
    """Whether folders with the names of splits, and with folders in them, are splits."""
    trained = {c for name in splits if kind_of_split(name) == "train" for c in splits[name]}
    tested = {c for name in splits if kind_of_split(name) != "train" for c in splits[name]}
    if not trained:
        return False
    if trained & tested:
        return True
    return not any(any(are_images(f)) for f in files_of_classes(root, others, LeftOut(root)))


def only_split(kind: str, splits: Iterable[str], root: Path) -> str | None:
    """The one folder of a kind of split, if there is one.

    Raises:
        DataError: There are several.
    """
    names = [name for name in splits if kind_of_split(name) == kind]
    if len(names) > 1:
        raise DataError(f"root={root} holds {' and '.join(names)}, one split twice; keep one")
    return names[0] if names else None


def _note_classes(names: Sequence[str], splits: Iterable[str], left_out: LeftOut) -> None:
    """Remark on classes with the name of a split, and on names that differ only in case."""
    for name in splits:
        left_out.remarks.append(
            f"{name} is read as a class, because folders beside it are no splits; "
            f"for its images alone set root={left_out.root / name}"
        )
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(repr(name))
    doubles = [" and ".join(group) for group in alike.values() if len(group) > 1]
    if doubles:
        left_out.remarks.append(f"classes that differ only in case: {enumerated(doubles, 3)}")


def _note_loose_images(folders: Iterable[Path], left_out: LeftOut) -> None:
    files = [path for folder in folders for path in loose_files(folder)]
    for path, is_image in zip(files, are_images(files), strict=True):
        if is_image:
            left_out.add(OUTSIDE, path)


def _check_same(
    train: Path, train_classes: Sequence[str], test: Path, test_classes: Sequence[str]
) -> None:
    problems = []
    for folder, other, names in (
        (train, test, set(train_classes) - set(test_classes)),
        (test, train, set(test_classes) - set(train_classes)),
    ):
        if names:
            listed = enumerated([repr(name) for name in sorted(names)], _LISTED)
            problems.append(f"class {listed} is in {folder} but not in {other}")
    if problems:
        raise DataError("; ".join(problems))
