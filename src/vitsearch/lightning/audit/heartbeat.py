"""Which processes of a run are alive, for waits that are too long for a collective.

Every process keeps counting in a small file of the run folder. One whose count stands still is
gone, or hangs: then nobody waits for it any longer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

_BEAT_SECONDS = 2.0
_PATIENCE_SECONDS = 60.0


class Presence:
    """Counts while the block runs, and watches the counts of the others."""

    def __init__(
        self,
        folder: Path,
        rank: int,
        world: int,
        *,
        beat: float = _BEAT_SECONDS,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """Set up; nothing is written where a process is alone.

        Args:
            folder: All processes see it.
            rank: Of this process.
            world: How many there are.
            beat: Seconds between two counts.
            patience: Seconds without a count after which a process is taken for dead.
        """
        self._folder, self._rank, self._world = folder, rank, world
        self._beat, self._patience = beat, patience
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True, name="presence")
        self._seen: dict[int, tuple[str, float]] = {}

    def __enter__(self) -> Presence:
        if self._rank == 0:
            for left in self._folder.glob(".alive.*"):  # by processes that were killed
                left.unlink(missing_ok=True)
        if self._world > 1:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._world > 1:
            self._ended.set()
            self._thread.join()
            with contextlib.suppress(OSError):
                self._file(self._rank).unlink()

    def check(self) -> None:
        """Ask from time to time while waiting for the others.

        Raises:
            RuntimeError: A process died; worded like torch's timeout, by which lost processes are
                recognised.
        """
        now = time.monotonic()
        for rank in range(self._world):
            count = self._read(rank)
            before, since = self._seen.get(rank, (None, now))
            if count != before:
                self._seen[rank] = (count, now)
            elif rank != self._rank and now - since > self._patience:
                raise RuntimeError(f"timed out waiting for process {rank}")

    def _count(self) -> None:
        number = 0
        while not self._ended.wait(self._beat):
            number += 1
            with contextlib.suppress(OSError):  # a full disk is found out elsewhere
                self._file(self._rank).write_text(str(number), encoding="utf-8")

    def _read(self, rank: int) -> str:
        try:
            return self._file(rank).read_text(encoding="utf-8")
        except OSError:
            return ""

    def _file(self, rank: int) -> Path:
        return self._folder / f".alive.{rank}"
