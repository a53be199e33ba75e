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

from vitsearch.errors import FormatError, HistoryError
from vitsearch.lightning.distributed import from_first, rank_and_world
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import read_json, with_format
from vitsearch.runs.history import HistoryRecord, ScoreNames, read_history
from vitsearch.runs.layout import HISTORY_FILE, SETTINGS_FILE


class History:
    """A run folder's history, the same on all processes; the first one writes.

    Attributes:
        folder: The run folder.
        known: The candidates that were there when it was opened.
        names: What its lines call a score.
    """

    def __init__(self, folder: Path, known: Sequence[HistoryRecord], names: ScoreNames) -> None:
        """See `open`."""
        self.folder = folder
        self.known = tuple(known)
        self.names = names

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any]) -> History:
        """Read what an interrupted search has left, or start a new history.

        A last line without its end is what a kill can leave behind; it is dropped.

        Args:
            folder: The run folder.
            settings: All that the search depends on, by name, ready for JSON.

        Raises:
            FormatError: A newer version has written it.
            HistoryError: What is there is damaged, or of another search.
        """
        problem: HistoryError | FormatError | None = None
        known: tuple[HistoryRecord, ...] = ()
        if rank_and_world()[0] == 0:
            try:
                known = _read(folder)
                _check_settings(folder, settings, has_lines=bool(known))
            except (HistoryError, FormatError) as error:
                problem = error
        problem, known = from_first((problem, known))
        if problem is not None:
            raise problem
        return cls(folder, known, ScoreNames.of(settings))

    def foreign(self, what: str) -> HistoryError:
        """The error for a history that this search would not have written."""
        return HistoryError(
            f"{self.folder / HISTORY_FILE} is of another search: {what}; {_advice(self.folder)}"
        )

    def append(self, lines: Sequence[str]) -> None:
        """Add lines and wait until they are on the disk."""
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


def _read(folder: Path) -> tuple[HistoryRecord, ...]:
    """What is there; a last line without its end is cut off, so that lines can follow."""
    try:
        found = read_history(folder)
    except HistoryError as error:
        raise HistoryError(f"{error}; {_advice(folder)}") from error
    file = folder / HISTORY_FILE
    if file.is_file():
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with file.open("r+b") as torn:
                torn.truncate(whole)
    return found


def _check_settings(folder: Path, settings: Mapping[str, Any], *, has_lines: bool) -> None:
    file = folder / SETTINGS_FILE
    settings = json.loads(json.dumps(settings))  # as they will be read
    if has_lines:
        try:
            before = read_json(file, HistoryError)
        except HistoryError as error:
            raise HistoryError(
                f"{folder / HISTORY_FILE} does not say which search it is of: {error}; "
                f"{_advice(folder)}"
            ) from error
        for name in sorted({*before, *settings}):
            old, new = before.get(name), settings.get(name)
            if old != new:
                raise HistoryError(
                    f"{folder / HISTORY_FILE} is of another search: {name} was {_shown(old)}, is "
                    f"{_shown(new)}; {_advice(folder)}"
                )
        return
    write_json(file, with_format(settings))
    (folder / HISTORY_FILE).touch()


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _advice(folder: Path) -> str:
    return f"take a fresh run folder, or delete {folder / HISTORY_FILE.parent}"
