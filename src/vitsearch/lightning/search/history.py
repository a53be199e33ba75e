"""`search/history.jsonl` on the disk: a line is there, for good, as soon as its score is known.

Beside it lies `settings.json`, what the search depends on, so that a search goes on only from a
history of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitsearch.errors import HistoryError
from vitsearch.lightning.distributed import from_first, rank_and_world
from vitsearch.runs.files import write_json
from vitsearch.runs.layout import HISTORY_FILE, SETTINGS_FILE


class History:
    """The lines of a run folder's history, the same on all processes; the first one writes."""

    def __init__(self, folder: Path, lines: Sequence[str]) -> None:
        """See `open`.

        Args:
            folder: The run folder.
            lines: What is there, without ends of lines.
        """
        self.folder = folder
        self.lines = list(lines)

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any]) -> History:
        """Read what an interrupted search has left, or start a new history.

        A last line without its end is what a kill can leave behind; it is dropped.

        Args:
            folder: The run folder.
            settings: All that the search depends on, by name, ready for JSON.

        Raises:
            HistoryError: What is there is damaged, or of another search.
        """
        problem, lines = None, []
        if rank_and_world()[0] == 0:
            try:
                lines = _read(folder)
                _check_settings(folder, settings, has_lines=bool(lines))
            except HistoryError as error:
                problem = str(error)
        problem, lines = from_first((problem, lines))
        if problem is not None:
            raise HistoryError(problem)
        return cls(folder, lines)

    def foreign(self, what: str) -> HistoryError:
        """The error for a history that this search would not have written."""
        return HistoryError(
            f"{self.folder / HISTORY_FILE} is of another search: {what}; {_advice(self.folder)}"
        )

    def append(self, lines: Sequence[str]) -> None:
        """Add lines and wait until they are on the disk."""
        self.lines += lines
        if rank_and_world()[0] != 0:
            return
        with (self.folder / HISTORY_FILE).open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


def refuse_old_history(folder: Path) -> None:
    """A training that starts anew cannot use the scores of another one.

    Raises:
        HistoryError: There are some.
    """
    file = folder / HISTORY_FILE
    if file.is_file() and file.stat().st_size:
        raise HistoryError(f"{file} is of another training; {_advice(folder)}")


def _read(folder: Path) -> list[str]:
    file = folder / HISTORY_FILE
    if not file.is_file():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with file.open("r+b") as torn:
            torn.truncate(len(whole))
    lines = whole.decode("utf-8", errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            valid = isinstance(json.loads(line), dict)
        except ValueError:
            valid = False
        if not valid:
            raise HistoryError(
                f"{file} is damaged: line {number} is no candidate; {_advice(folder)}"
            )
    return lines


def _check_settings(folder: Path, settings: Mapping[str, Any], *, has_lines: bool) -> None:
    file = folder / SETTINGS_FILE
    settings = json.loads(json.dumps(settings))  # as they will be read
    if has_lines:
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if not isinstance(before, dict):
            raise HistoryError(
                f"{folder / HISTORY_FILE} does not say which search it is of: {file} cannot be "
                f"read; {_advice(folder)}"
            )
        for name in sorted({*before, *settings}):
            old, new = before.get(name), settings.get(name)
            if old != new:
                raise HistoryError(
                    f"{folder / HISTORY_FILE} is of another search: {name} was {_shown(old)}, is "
                    f"{_shown(new)}; {_advice(folder)}"
                )
        return
    write_json(file, settings)
    (folder / HISTORY_FILE).touch()


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _advice(folder: Path) -> str:
    return f"take a fresh run folder, or delete {folder / HISTORY_FILE.parent}"
