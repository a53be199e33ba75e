"""The file of finished trainings: whole lines, one writer each, no mixture of recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitsearch.errors import CheckpointError
from vitsearch.lightning.audit.log import TrainingLog
from vitsearch.runs.layout import TRAININGS_FILE


def record(digest: str, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"digest": digest, "seed": seed, "correct": 3, "total": 5, "recipe": "r", **more}


def test_what_is_added_is_read(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "audit")
    assert log.read() == {}
    log.fold()
    assert not log.folder.exists()
    for key in (("a", 0), ("b", 0), ("a", 1)):
        log.add(record(*key))
    assert list(log.read()) == [("a", 0), ("b", 0), ("a", 1)]
    lines = (tmp_path / TRAININGS_FILE).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert found == [{"format": 1, **entry} for entry in log.read().values()]
    assert [path.name for path in log.folder.iterdir()] == [TRAININGS_FILE.name]


def test_processes_write_files_of_their_own_and_the_first_folds_them(tmp_path: Path) -> None:
    logs = [TrainingLog(tmp_path, rank) for rank in range(3)]
    for rank in (2, 0, 1):
        logs[rank].add(record(f"of {rank}"))
        logs[rank].add(record("of all", correct=rank))
    assert len({log.own for log in logs}) == 3
    assert all(log.read() == logs[0].read() for log in logs)
    before = logs[0].read()
    assert len(before) == 4
    logs[0].fold()
    assert [path.name for path in tmp_path.iterdir()] == [TRAININGS_FILE.name]
    assert logs[1].read() == before


@pytest.mark.parametrize("left", [1, 20, -2])
def test_a_torn_last_line_is_left_out_and_repaired(left: int, tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.add(record("a"))
    whole = log.own.read_bytes()
    log.add(record("b"))
    log.own.write_bytes(log.own.read_bytes()[: len(whole) + left if left > 0 else left])
    assert list(log.read()) == [("a", 0)]
    log.add(record("c"))
    assert list(log.read()) == [("a", 0), ("c", 0)]
    line = json.dumps({"format": 1, **record("c")})
    assert log.own.read_bytes() == whole + f"{line}\n".encode()


def test_a_last_line_without_its_newline_counts(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.add(record("a"))
    log.own.write_bytes(log.own.read_bytes()[:-1])
    assert list(log.read()) == [("a", 0)]
    log.fold()
    assert log.own.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("line", ["nonsense", "[]", "3", '{"digest": "a"}'])
def test_another_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.add(record("a"))
    whole = log.own.read_text()
    log.own.write_text(f"{whole}{line}\n{whole}")
    with pytest.raises(CheckpointError, match=r"trainings\.jsonl line 2 is damaged"):
        log.read()


def test_trainings_of_another_recipe_are_refused(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.check("r")
    log.add(record("a", epochs=20))
    log.check("r")
    with pytest.raises(CheckpointError, match="1 trainings of another recipe") as caught:
        log.check("other")
    assert "20 epochs" in str(caught.value)
    assert "run_dir=" in str(caught.value)
