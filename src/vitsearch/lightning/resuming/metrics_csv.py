"""The logger of `metrics.csv`: a run that goes on keeps its rows, without gaps or repetitions."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from vitsearch.runs.files import write_text


class MetricsFile(CSVLogger):
    """Lightning's `CSVLogger`, whose file survives an interruption.

    A checkpoint notes how many rows there were (`state_dict`). A training that goes on from it
    drops the rows after them, which it logs again. A training that starts anew drops all.
    """

    _rows: _Rows | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> _Rows:
        """The file."""
        if self._rows is None:
            self._rows = _Rows(self.log_dir)
        return self._rows

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Save what has been logged, if anything was."""
        if self._rows is not None:
            self.save()

    def state_dict(self) -> dict[str, int]:
        """How many rows the file has."""
        rows = self.experiment
        if not isinstance(rows, _Rows):  # another process writes the file
            return {}
        rows.save()
        return {"rows": rows.written}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after so many rows."""
        rows = self.experiment
        if isinstance(rows, _Rows):
            rows.keep(state["rows"])


class _Rows(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.written = 0
        self._path = Path(self.metrics_file_path)

    def _check_log_dir_exists(self) -> None:
        """Leave older files alone: whether they belong to this run is known when it logs."""

    def keep(self, rows: int) -> None:
        """Drop what comes after so many rows of the file."""
        found = self._read()
        self.written = min(rows, len(found))
        self.metrics_keys = sorted(found[0]) if found else []
        self._rewrite(found[: self.written])

    def save(self) -> None:
        """Append the rows that were logged since; all at once, because a kill may come between."""
        if not self.metrics:
            return
        columns = sorted({*self.metrics_keys, *(name for row in self.metrics for name in row)})
        if columns != self.metrics_keys or not self.written:
            self.metrics_keys = columns
            self._rewrite([*(self._read() if self.written else []), *self.metrics])
        else:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._text(self.metrics, header=False))
        self.written += len(self.metrics)
        self.metrics = []

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: Sequence[dict[str, Any]]) -> None:
        write_text(self._path, self._text(rows, header=True))

    def _text(self, rows: Sequence[dict[str, Any]], *, header: bool) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
