"""`vitsearch.search`: another budget from a trained supernet."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import vitsearch
from tests.commands.running import (
    FEW_CANDIDATES,
    SMALL_SPACE,
    TINY,
    TINY_SEARCH,
    Outcome,
    files_below,
    read_history,
    run_here,
    run_module,
)

FILES = {
    "config.yaml",
    "finished.json",
    "timing.json",
    "search/settings.json",
    "search/history.jsonl",
    "search/best.json",
    "search/result.json",
    "best/architecture.json",
    "best/model.safetensors",
}


@pytest.mark.slow
def test_the_command_that_a_run_prints(tmp_path: Path) -> None:
    """In processes of their own, from an empty folder, as typed into a shell."""
    trained = run_module("vitsearch.train", *SMALL_SPACE, *TINY, folder=tmp_path).succeeded()
    assert trained.err == ""
    first = trained.run
    found = re.search(r"another budget:\s+(python -m vitsearch\.search .*)", trained.out)
    assert found is not None, trained.out
    program, dash_m, module, *overrides = shlex.split(found[1])
    assert (program, dash_m, module) == ("python", "-m", "vitsearch.search")

    searched = run_module(module, *overrides, *TINY_SEARCH, "run_dir=next", folder=tmp_path)
    assert searched.succeeded().err == ""
    assert files_below(tmp_path / "next") == FILES
    low, high = OmegaConf.load(tmp_path / "next" / "search" / "best.json").constraint.macs
    history = read_history(tmp_path / "next")
    assert len(history) == 8
    assert all(low <= record["macs"] <= high for record in history)
    network = vitsearch.load_model(tmp_path / "next" / "best")
    assert low <= network.cost().macs <= high
    shown = str(first.relative_to(tmp_path))
    for words in ("vitsearch", shown, "generation 1", "best architecture", "largest"):
        assert words in searched.out, (words, searched.out)


def test_a_window_in_plain_numbers_and_other_data(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_here(
        "search",
        f"checkpoint={trained.run / 'supernet.ckpt'}",
        "constraint.macs=[600000,null]",
        "constraint.params=[null,20000]",
        "data=fashion_mini",
        "++data.search_per_class=4",
        *TINY_SEARCH,
        folder=tmp_path,
    ).succeeded()
    assert files_below(outcome.run) == FILES
    for record in read_history(outcome.run):
        assert record["macs"] >= 600_000
        assert record["params"] <= 20_000
        assert record["total"] == 40
    config = OmegaConf.load(outcome.run / "config.yaml")
    assert config.space.num_blocks == 2
    assert config.data.image_size == 28


def test_a_checkpoint_without_its_run(trained: Outcome, tmp_path: Path) -> None:
    shutil.copy(trained.run / "supernet.ckpt", tmp_path / "moved.ckpt")
    outcome = run_here(
        "search",
        "checkpoint=../moved.ckpt",
        "data=fashion_mini",
        "use_test_split=false",
        *TINY_SEARCH,
        folder=tmp_path / "work",
    ).succeeded()
    assert len(read_history(outcome.run)) == 8


def test_the_same_budget_finds_what_training_found(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_here(
        "search",
        f"checkpoint={trained.run}",
        "use_test_split=false",
        *TINY_SEARCH,
        folder=tmp_path,
    ).succeeded()
    assert read_history(outcome.run) == read_history(trained.run)


def test_random_search_in_another_seed(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_here(
        "search",
        f"checkpoint={trained.run}",
        "searcher=random",
        "searcher.population=6",
        "seed=4",
        *TINY_SEARCH[: -len(FEW_CANDIDATES)],
        folder=tmp_path,
    ).succeeded()
    history = read_history(outcome.run)
    assert len(history) == 6
    assert {record["generation"] for record in history} == {0}
    assert history[:4] != read_history(trained.run)[:4]


@pytest.mark.slow
def test_two_processes_train_and_search_like_one(tmp_path: Path) -> None:
    two = ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=ddp")
    trained = run_module("vitsearch.train", *SMALL_SPACE, *TINY, *two, folder=tmp_path)
    run = trained.succeeded().run  # one run folder for both processes
    assert files_below(run) >= FILES | {"metrics.csv", "supernet.ckpt"}
    assert not [name for name in files_below(run) if ".tmp" in name]
    assert "2 x cpu" in trained.out
    assert trained.out.count("best architecture") == 1

    options = (f"checkpoint={run}", *TINY_SEARCH, "seed=3", "constraint.macs=[0.5M,1.2M]")
    alone = run_here("search", *options, "run_dir=alone", folder=tmp_path).succeeded()
    both = run_module("vitsearch.search", *options, *two, "run_dir=both", folder=tmp_path)
    assert both.succeeded().out.count("best architecture") == 1
    for name in ("search/history.jsonl", "search/best.json", "best/model.safetensors"):
        one, other = tmp_path / "alone" / name, tmp_path / "both" / name
        assert one.read_bytes() == other.read_bytes(), name
    assert alone.out.count("generation 1") == both.out.count("generation 1") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "both", "outputs"]
