from __future__ import annotations

import time
from pathlib import Path

import pytest

from vitsearch.lightning.audit.heartbeat import Presence


def wait(presence: Presence, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        presence.check()
        time.sleep(0.01)


def test_a_process_that_stops_counting_is_given_up(tmp_path: Path) -> None:
    with Presence(tmp_path, 0, 2, beat=0.01, patience=1.0) as first:
        second = Presence(tmp_path, 1, 2, beat=0.01)
        with second:
            wait(first, 1.5)
            assert {path.name for path in tmp_path.iterdir()} == {".alive.0", ".alive.1"}
        (tmp_path / ".alive.1").write_text("7")  # as a killed process leaves it
        with pytest.raises(RuntimeError, match="timed out waiting for process 1"):
            wait(first, 60)
    assert {path.name for path in tmp_path.iterdir()} == {".alive.1"}


def test_a_process_that_never_came_is_given_up(tmp_path: Path) -> None:
    alone = Presence(tmp_path, 0, 2, beat=0.01, patience=0.2)
    with alone, pytest.raises(RuntimeError, match="process 1"):
        wait(alone, 60)


def test_alone_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / ".alive.3").write_text("7")  # of a run with more processes, which was killed
    with Presence(tmp_path, 0, 1) as alone:
        alone.check()
        assert list(tmp_path.iterdir()) == []
