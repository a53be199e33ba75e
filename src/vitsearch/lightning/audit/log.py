"""`trainings.jsonl`: a line for each finished training of an audit, so that a stopped one goes on.

Every process writes a file of its own, whole each time: nothing is torn by a process that dies, and
nothing is locked, which not every file system of a cluster can do. The first process folds the
others' files into its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vitsearch.errors import CheckpointError
from vitsearch.runs.files import write_text
from vitsearch.runs.formats import with_format, without_format
from vitsearch.runs.layout import TRAININGS_FILE

_FIELDS = {"digest", "seed", "total"}
Key = tuple[str, int]
"""Digest of an architecture, and the seed of its training."""


class TrainingLog:
    """The finished trainings in a folder.

    Attributes:
        folder: Where the files lie.
        own: The file that this process writes.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.own = folder / (f"trainings.{rank}.jsonl" if rank else TRAININGS_FILE.name)

    def read(self) -> dict[Key, dict[str, Any]]:
        """All records, of all processes; a torn last line is left out.

        Raises:
            CheckpointError: Another line is damaged.
            FormatError: A newer version has written it.
        """
        return _by_key(record for file in self._files() for record in _read(file))

    def add(self, record: dict[str, Any]) -> None:
        """Write down a finished training."""
        _write(self.own, [*_read(self.own), record])

    def fold(self) -> None:
        """Make one sound file of all; for the first process, while no other one writes."""
        records = self.read()
        if not records:
            return
        _write(self.own, records.values())
        for file in self._files():
            if file != self.own:
                file.unlink()

    def check(self, recipe: str) -> None:
        """Refuse to mix trainings of two recipes.

        Raises:
            CheckpointError: There are trainings of another one.
        """
        others = [record for record in self.read().values() if record.get("recipe") != recipe]
        if others:
            raise CheckpointError(
                f"{self.folder / TRAININGS_FILE.name} holds {len(others)} trainings of another "
                f"recipe ({others[0].get('epochs')} epochs; settings or data differ): delete it, "
                f"or give another folder with run_dir="
            )

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("trainings*.jsonl"))


def _by_key(records: Iterable[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    return {(record["digest"], record["seed"]): record for record in records}


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:  # or folded meanwhile: the first process's file is read last
        return []
    records = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        record = _parse(line)
        if record is not None:
            records.append(without_format(record, file))
        elif number < len(lines):
            raise CheckpointError(
                f"{file} line {number} is damaged; delete the line, its training is repeated"
            )
        # Else no newline follows: the write was cut off.
    return records


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and set(record) >= _FIELDS else None


def _write(file: Path, records: Iterable[dict[str, Any]]) -> None:
    write_text(file, "".join(json.dumps(with_format(record)) + "\n" for record in records))
