"""Another task than classification, named once (`+model.task._target_=`), in every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.running import run_here

HALVES = '''
from vitsearch.lightning.tasks import Figure, Task
import torch.nn.functional as F

class Halves(Task):
    """Which half of the classes an image is of."""
    name = "halves"
    figures = (Figure(name="half", label="right half"),)
    counted = ("right",)

    def check_targets(self, images, targets):
        return targets

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs, targets)

    def count(self, outputs, targets):
        return {"right": ((outputs.argmax(1) < 5) == (targets < 5)).sum()}

    def compute(self, counts, total):
        return (counts["right"] / total,)

class NoTask:
    pass
'''
SMALL = (
    *("+space=glit", "space.num_blocks=1", "trainer.max_steps=2", "data.eval_batch_size=500"),
    *("searcher.population=3", "searcher.generations=1", "searcher.parents=1"),
    *("searcher.mutations=0", "searcher.crossovers=0"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the task's file lies."""
    (tmp_path / "halves.py").write_text(HALVES)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_every_command_knows_it(folder: Path) -> None:
    task = "+model.task._target_=halves.Halves"
    trained = run_here("train", *SMALL, task, "run_dir=run", folder=folder).succeeded()
    assert "right half" in trained.out
    line = json.loads((folder / "run/search/history.jsonl").read_text().splitlines()[0])
    assert line["half"] == line["right"] / line["total"]
    assert "right half" in (folder / "run/report.html").read_text()

    small = [word for word in SMALL if word.startswith("searcher.")]
    again = run_here("search", "checkpoint=run", *small, "run_dir=again", folder=folder)
    assert "right half" in again.succeeded().out

    audit = run_here("audit", "checkpoint=run", "n=4", "epochs=1", folder=folder).succeeded()
    assert "right half" in audit.out

    alone = ("architecture=again", "trainer.max_epochs=1", "run_dir=alone")
    assert "right half" in run_here("retrain", *alone, folder=folder).succeeded().out

    refused = run_here("evaluate", "model=alone", folder=folder)
    assert refused.code == 2
    assert (
        "was trained for halves.Halves; evaluate knows classification and segmentation only"
        in refused.err
    )


def test_what_is_no_task_is_refused(folder: Path) -> None:
    wrong = "+model.task._target_=halves.NoTask"
    refused = run_here("train", *SMALL, wrong, "run_dir=run", folder=folder)
    assert refused.code == 2
    assert "model.task" in refused.err
    assert not (folder / "run").exists()
