"""`timing.json`: starts add up, new work forgets the old, nothing there ends a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lightning.conftest import quiet_trainer
from vitsearch.data import FashionMini
from vitsearch.lightning import SearchableClassifier, TrainingTime
from vitsearch.lightning.resuming.timing import Stopwatch

CPU = torch.device("cpu")


def timing(folder: Path) -> Any:
    found = json.loads((folder / "timing.json").read_text())
    assert found.pop("format") == 1
    return found


def test_starts_of_the_same_work_add_up(tmp_path: Path) -> None:
    for first in (0, 7):
        watch = Stopwatch(tmp_path, "search", CPU, goes_on=first > 0, first_candidate=first)
        watch.lap(last_candidate=first + 3)
        watch.lap(last_candidate=first + 5)
    found = timing(tmp_path)["search"]
    ranges = [(start["first_candidate"], start["last_candidate"]) for start in found]
    assert ranges == [(0, 5), (7, 12)]
    assert all(start["device"] == "cpu" and start["processes"] == 1 for start in found)
    assert all(start["versions"]["torch"] for start in found)
    Stopwatch(tmp_path, "training", CPU, goes_on=False).lap()
    assert {name: len(starts) for name, starts in timing(tmp_path).items()} == {
        "search": 2,
        "training": 1,
    }
    Stopwatch(tmp_path, "search", CPU, goes_on=False).lap()
    assert len(timing(tmp_path)["search"]) == 1


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_file_is_written_anew(text: str, tmp_path: Path) -> None:
    (tmp_path / "timing.json").write_text(text)
    Stopwatch(tmp_path, "search", CPU, goes_on=True).lap()
    assert len(timing(tmp_path)["search"]) == 1


def test_a_training_that_fails_has_its_time(
    module: SearchableClassifier,
    data: FashionMini,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(module, "on_train_epoch_start", fail)
    trainer = quiet_trainer(tmp_path, callbacks=[TrainingTime()])
    with pytest.raises(RuntimeError, match="no luck"):
        trainer.fit(module, datamodule=data)
    (start,) = timing(tmp_path)["training"]
    assert (start["first_step"], start["last_step"]) == (0, 0)
    assert start["seconds"] > 0
