"""`callbacks=progressive_shrinking`: trained, killed, gone on with, and used as a search is."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from docs.outputs import ROOT, blocks_of, shape

import vitsearch
from tests.commands.killing import end, kill_when, results, start, weights
from tests.commands.running import SMALL_SPACE, files_below, run_here
from tests.commands.test_command_errors import refused
from tests.commands.timm_folder import write_timm_folder

SHRINKING = ("callbacks=progressive_shrinking", "callbacks.shrinking.every_n_epochs=0.5")
TRAINING = (
    "data.batch_size=16",
    "data.statistics_images=40",
    "++data.search_per_class=5",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.max_epochs=2",
    "+trainer.limit_train_batches=6",
    "trainer.check_val_every_n_epoch=1",
)
BUDGET = "constraint.macs=[1M,1.1M]"
NO_REPORT = "callbacks.shrinking.report=false"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended."""
    folder = tmp_path_factory.mktemp("shrinking")
    made = run_here(
        "train", *SMALL_SPACE, *SHRINKING, *TRAINING, BUDGET, "run_dir=run", folder=folder
    ).succeeded()
    assert "left by shrinking" in made.out
    assert "every shrink:    run/search/shrinks.json" in made.out
    assert "another budget" not in made.out
    (page,) = blocks_of(ROOT / "docs" / "progressive_shrinking.md")
    assert set(shape(page.text)) <= set(shape(made.out))
    return folder / "run"


def test_the_network_is_used_as_one_that_a_search_has_found(trained: Path) -> None:
    folder = trained.parent
    best = json.loads((trained / "search" / "best.json").read_text())
    assert 1e6 <= best["macs"] <= 1.1e6
    assert vitsearch.load_model(trained / "best").architecture.digest == best["digest"]
    cpu = "trainer.accelerator=cpu"
    retrained = (
        *("architecture=run", "run_dir=alone", "trainer.max_epochs=1", cpu),
        *("+trainer.limit_train_batches=2", "trainer.devices=1"),
    )
    run_here("retrain", *retrained, folder=folder).succeeded()
    run_here("evaluate", "model=run", cpu, "run_dir=scores", folder=folder).succeeded()
    run_here(
        "export", "model=run", "format=safetensors", "run_dir=files", folder=folder
    ).succeeded()
    page = (trained / "report.html").read_text()
    assert "The shrinks" in page
    assert "candidates classifies" not in page
    made = run_here("report", "run=run", folder=folder).succeeded()
    assert "report.html" in made.out
    again = (
        *(*SMALL_SPACE, *SHRINKING, *TRAINING, BUDGET),
        "run_dir=run",
    )
    assert "finished" in run_here("train", *again, folder=folder).succeeded().out


def test_a_pretrained_network_of_timm_shrinks(tmp_path: Path) -> None:
    write_timm_folder(tmp_path / "timm")
    given = ("+space=timm", "space.model=timm", "optimizer.lr=1e-4", "run_dir=run", NO_REPORT)
    budget = "constraint.macs=[300K,330K]"
    run_here("train", *given, *SHRINKING, *TRAINING, budget, folder=tmp_path).succeeded()
    best = json.loads((tmp_path / "run" / "search" / "best.json").read_text())
    assert 300e3 <= best["macs"] <= 330e3
    kept = vitsearch.load_model(tmp_path / "run" / "best").architecture
    original = vitsearch.load_model(tmp_path / "run" / "original").architecture
    changed = {name.rpartition(".")[2] for name in kept if kept[name] != original[name]}
    assert changed <= {"num_heads", "mlp_hidden"}
    assert changed


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    run = (
        *(*SMALL_SPACE, *SHRINKING, *TRAINING, BUDGET, NO_REPORT, "run_dir=run"),
        "model.drop_path_rate=0.2",
        "model.mixup=0.3",
        "callbacks.checkpoint.every_n_steps=1",
        "callbacks.shrinking.use_test_split=false",
    )
    straight = tmp_path / "straight"
    assert end(start("train", *run, folder=straight)) == 0
    killed, rng = tmp_path / "killed", random.Random(0)

    def step() -> int:
        try:
            found = torch.load(killed / "run" / "supernet.ckpt", weights_only=True)
        except FileNotFoundError:
            return 0
        return int(found["global_step"])

    deaths = 0
    for _ in range(6):
        aim = step() + rng.randint(0, 2)
        code = kill_when(
            start("train", *run, folder=killed), lambda aim=aim: step() > aim, signal.SIGKILL
        )
        deaths += code == -signal.SIGKILL
    assert deaths >= 3
    assert end(start("train", *run, folder=killed)) == 0
    assert results(killed / "run") == results(straight / "run")
    assert weights(killed / "run") == weights(straight / "run")
    shrinks = [folder / "run" / "search" / "shrinks.json" for folder in (killed, straight)]
    assert shrinks[0].read_bytes() == shrinks[1].read_bytes()
    assert files_below(killed / "run") == files_below(straight / "run")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("constraint.macs=null", ("callbacks.shrinking needs a budget", "published=true")),
        ("constraint.macs=[null,1000]", ("cannot be met", "shrinking takes space glit")),
        ("constraint.macs=[1M,null]", ("constraint.macs", "upper end")),
        ("callbacks.shrinking.published=true", ("has no budget", "constraint.macs is set")),
        ("callbacks.shrinking.every_n_epochs=0", ("every_n_epochs=0", "above 0")),
        ("callbacks.shrinking.threshold=-1", ("threshold=-1", "0 or more")),
        ("model.sharing=bilateral", ("model.sharing=bilateral", "sharing=prefix")),
    ],
)
def test_what_cannot_be_shrunk_is_refused(
    override: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    given = (*SMALL_SPACE, *SHRINKING, *TRAINING, BUDGET, override)
    refused(run_here("train", *given, folder=tmp_path), *words)
