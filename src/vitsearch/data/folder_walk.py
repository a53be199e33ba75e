"""Folders of images as a person sees them: nothing hidden, nothing twice, nothing lost unsaid.

`folder_layout.py` and `folder_images.py` read folders through the functions here. What they leave
out goes into a `LeftOut`, which becomes one line for the user.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

HIDDEN = "hidden"
NO_IMAGES = "not readable as images"
BACK = "linking back to what is read already"
CLOSED = "without access"
OUTSIDE = "outside the class folders"

# Folders and files that systems leave among a person's files without showing them.
_SYSTEM_NAMES = {
    *("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information"),
    *("lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
_HEIF = (".heic", ".heif", ".hif")
_EXAMPLES = 3


def say(line: str) -> None:
    """Print a line for the user of this process."""
    print(f"vitsearch: {' '.join(line.split())}", file=sys.stderr, flush=True)


say_once = rank_zero_only(say)  # for what every process finds


def enumerated(names: Sequence[str], limit: int) -> str:
    """Names in one line; only the number of those beyond `limit`."""
    more = "" if len(names) <= limit else f", and {len(names) - limit} more"
    return ", ".join(names[:limit]) + more


@dataclass(slots=True)
class LeftOut:
    """What is left out of an image folder, and why.

    Attributes:
        root: The image folder; names are shown from there.
        paths: What was left out, by reason.
        remarks: What else the user should know of how the folder is read.
    """

    root: Path
    paths: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, reason: str, path: str | Path) -> None:
        """Leave out a file or a folder."""
        self.paths.setdefault(reason, []).append(os.path.relpath(path, self.root))

    def in_words(self) -> str:
        """How many of each reason, with examples, and the remarks; empty if there is nothing."""
        reasons = [
            f"{len(paths)} {reason} ({_kinds(paths) if reason == NO_IMAGES else _some(paths)})"
            for reason, paths in sorted(self.paths.items())
        ]
        parts = [f"left out {', '.join(reasons)}"] if reasons else []
        if any(path.lower().endswith(_HEIF) for path in self.paths.get(NO_IMAGES, ())):
            parts.append("pip install pillow-heif to read .heic")
        return "; ".join([*parts, *self.remarks])

    def line(self) -> str:
        """The words with the root before them; empty if there is nothing to say."""
        words = self.in_words()
        return words and f"root={self.root}: {words}"


def subfolders(folder: Path, left_out: LeftOut) -> tuple[str, ...]:
    """The names of the folders in `folder` that a person sees, sorted; none if it is no folder.

    Hidden ones, and links to `folder` or to what it lies in, are left out.
    """
    here = os.path.realpath(folder)
    names = []
    for entry in _entries(folder, left_out):
        if not _is_folder(entry):
            continue
        if entry.is_symlink() and _is_within(here, os.path.realpath(entry.path)):
            left_out.add(BACK, entry.path)
        else:
            names.append(entry.name)
    return tuple(names)


def files_of_classes(
    folder: Path, class_names: Iterable[str], left_out: LeftOut
) -> list[list[str]]:
    """The files of each class folder that a person sees, at any depth, sorted.

    Links to folders are followed once everything else is read, and only to folders that are not
    read yet, so no file is listed twice. Of links to the same file in a class, one is listed.
    """
    walk = _Walk(folder, left_out)
    paths = [os.path.join(str(folder), name) for name in class_names]
    for label, path in enumerate(paths):
        walk.enter(label, path)
    walk.follow_links()
    return [walk.files_of(label) for label in range(len(paths))]


def loose_files(folder: Path) -> list[str]:
    """The files directly in a folder that a person sees."""
    entries = _entries(folder, LeftOut(folder))
    return [entry.path for entry in entries if not _is_folder(entry) and not _is_special(entry)]


class _Walk:
    """The state of one walk: what has been read, and links that wait."""

    def __init__(self, folder: Path, left_out: LeftOut) -> None:
        self._base = os.path.realpath(folder)
        self._left_out = left_out
        self._read: set[str] = set()
        self._links: deque[tuple[int, str]] = deque()
        self._files: dict[int, dict[str, list[str]]] = {}
        self._linked_files: dict[int, set[str]] = {}

    def enter(self, label: int, path: str) -> None:
        """Read a folder and those in it, or keep it for later if it is a link."""
        if os.path.islink(path):
            self._links.append((label, path))
        else:
            self._walk(label, path)

    def follow_links(self) -> None:
        """Read the folders that links lead to, and links found there."""
        while self._links:
            label, path = self._links.popleft()
            if _is_within(self._base, os.path.realpath(path)):
                self._left_out.add(BACK, path)
            else:
                self._walk(label, path)

    def files_of(self, label: int) -> list[str]:
        """The files of a class, by folder and then by name, links to listed ones left out."""
        folders = sorted(self._files.get(label, {}).items())
        paths = [os.path.join(folder, name) for folder, names in folders for name in sorted(names)]
        linked = self._linked_files.get(label)
        if linked is None:
            return paths
        listed = {_identity(path) for path in paths if path not in linked} - {None}
        kept = []
        for path in paths:
            identity = _identity(path) if path in linked else None
            if identity is not None and identity in listed:
                self._left_out.add(BACK, path)
            else:
                kept.append(path)
                listed.add(identity)
        return kept

    def _walk(self, label: int, path: str) -> None:
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in self._read:
                self._left_out.add(BACK, folder)
                continue
            self._read.add(real)
            names = self._files.setdefault(label, {}).setdefault(folder, [])
            for entry in _entries(folder, self._left_out):
                if _is_folder(entry):
                    if entry.is_symlink():
                        self._links.append((label, entry.path))
                    else:
                        waiting.append(entry.path)
                elif _is_special(entry):
                    self._left_out.add(NO_IMAGES, entry.path)
                else:
                    names.append(entry.name)
                    if entry.is_symlink():
                        self._linked_files.setdefault(label, set()).add(entry.path)


def _entries(folder: str | Path, left_out: LeftOut) -> list[os.DirEntry[str]]:
    """What a person sees in a folder, sorted by name."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        left_out.add(CLOSED, folder)
        return []
    seen = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in _SYSTEM_NAMES:
            left_out.add(HIDDEN, entry.path)
        else:
            seen.append(entry)
    return seen


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether this is a pipe, a socket or a device; opening one may wait for ever."""
    try:
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:  # a link to itself
        return False


def _is_within(path: str, folder: str) -> bool:
    """Whether a real path is a folder, or lies in it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _identity(path: str) -> tuple[int, int] | None:
    """What two names of one file have in common; `None` where the system does not tell."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _some(paths: Sequence[str]) -> str:
    return enumerated(paths, _EXAMPLES)


def _kinds(paths: Sequence[str]) -> str:
    """How many files have each suffix, the most frequent first."""
    kinds = Counter(os.path.splitext(path)[1].lower() or "without suffix" for path in paths)
    most = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return enumerated([f"{number} {kind}" for kind, number in most], 2 * _EXAMPLES)
