"""`vitsearch.train` from the overrides to the files that a run leaves."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import vitsearch
from tests.commands.running import (
    FEW_CANDIDATES,
    SMALL_SPACE,
    TINY,
    Outcome,
    files_below,
    read_history,
    run_here,
    small_range,
    small_space,
)
from vitsearch.costs import reachable_range
from vitsearch.spaces import Architecture, SearchSpace

EVERY_RUN = {"config.yaml", "metrics.csv", "supernet.ckpt"}
EVERY_SEARCH = {
    "search/history.jsonl",
    "search/best.json",
    "best/architecture.json",
    "best/model.safetensors",
}


def columns(run: Path) -> dict[str, list[float]]:
    """The numbers of metrics.csv by name, without the gaps."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_files_of_a_run(trained: Outcome) -> None:
    left = files_below(trained.folder)
    run = str(trained.run.relative_to(trained.folder))
    assert {f"{run}/{name}" for name in EVERY_RUN | EVERY_SEARCH} <= left
    assert not [name for name in left if ".tmp" in name or "/." in name or not name.startswith(run)]
    assert trained.err == ""
    metrics = columns(trained.run)
    assert len(metrics["train/loss"]) == 1
    assert metrics["search/best_top1"] == [max(r["top1"] for r in read_history(trained.run))]


def test_config_of_a_run_is_complete_and_resolved(trained: Outcome) -> None:
    text = (trained.run / "config.yaml").read_text()
    assert "${" not in text
    assert "???" not in text
    config = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(config, dict)
    groups = "data model optimizer scheduler sampler searcher constraint trainer callbacks logger"
    assert {*groups.split(), "space", "seed", "run_dir"} <= set(config)
    assert config["run_dir"] == str(trained.run)
    assert config["data"]["image_size"] == config["space"]["image_size"] == 28
    assert SearchSpace(config["space"]) == small_space()


def test_config_of_a_run_starts_the_same_run_again(trained: Outcome, tmp_path: Path) -> None:
    again = run_here(
        "train",
        f"--config-dir={trained.run}",
        "--config-name=config",
        f"run_dir={tmp_path / 'again'}",
        f"trainer.default_root_dir={tmp_path / 'again'}",
        f"logger.csv.save_dir={tmp_path / 'again'}",
        f"hydra.run.dir={tmp_path / 'again'}",
        folder=tmp_path / "work",
    ).succeeded()
    assert read_history(tmp_path / "again") == read_history(trained.run), again.out


def test_supernet_checkpoint_holds_no_code(trained: Outcome) -> None:
    checkpoint = torch.load(trained.run / "supernet.ckpt", weights_only=True)
    assert checkpoint["vitsearch"]["num_classes"] == 10
    assert checkpoint["global_step"] == 3
    supernet = vitsearch.load_supernet(trained.run)
    assert supernet.space == small_space()


def test_history_of_a_run(trained: Outcome) -> None:
    history = read_history(trained.run)
    space = vitsearch.load_supernet(trained.run).space
    assert len(history) == 8
    assert [record["generation"] for record in history] == [0] * 4 + [1] * 4
    assert len({record["digest"] for record in history}) == 8
    for record in history:
        architecture = Architecture.from_dict(record["architecture"])
        space.validate(architecture)
        assert record["digest"] == architecture.digest
        cost = vitsearch.cost(space, architecture, num_classes=10)
        assert (record["macs"], record["params"]) == (cost.macs, cost.params)
        assert record["total"] == 50
        assert record["top1"] == record["correct"] / record["total"]
        if record["origin"] == "random":
            assert record["parents"] == []
        else:
            assert record["generation"] == 1
            assert len(record["parents"]) == {"mutation": 1, "crossover": 2}[record["origin"]]
            first = {r["digest"] for r in history if r["generation"] == 0}
            assert set(record["parents"]) <= first


def test_best_network_of_a_run(trained: Outcome) -> None:
    history = read_history(trained.run)
    best = OmegaConf.load(trained.run / "search" / "best.json")
    assert best.correct == max(record["correct"] for record in history)
    network = vitsearch.load_model(trained.run / "best")
    assert network.architecture.digest == best.digest
    assert network.cost().macs == best.macs
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_what_a_run_prints(trained: Outcome) -> None:
    run = trained.run.relative_to(trained.folder)
    for words in (
        "vitsearch",
        "space",
        f"{small_space().size()} architectures",
        small_range(),
        "FashionMini, 10 classes, 1 x 28 x 28",
        "1 x cpu",
        str(run),
        "epoch 1/1: loss",
        "generation 0: 4 candidates",
        "generation 1: 4 candidates",
        "candidates/s",
        "best architecture",
        "block 2:",
        "largest",
        "top-1, search split (50)",
        "median of 4 random architectures",
        f"python -m vitsearch.search checkpoint={run} 'constraint.macs=[",
        f"vitsearch.load_model('{run}/best')",
    ):
        assert words in trained.out, (words, trained.out)


def test_the_same_seed_gives_the_same_run(trained: Outcome, tmp_path: Path) -> None:
    again = run_here("train", *SMALL_SPACE, *TINY, folder=tmp_path / "again").succeeded()
    assert read_history(again.run) == read_history(trained.run)
    other = run_here("train", *SMALL_SPACE, *TINY, "seed=1", folder=tmp_path / "other").succeeded()
    assert read_history(other.run) != read_history(trained.run)


def test_training_without_search_with_more_of_everything_else(tmp_path: Path) -> None:
    """Own callback, other sampler, other optimiser, augmentation, validation, tensorboard."""
    outcome = run_here(
        "train",
        *SMALL_SPACE,
        *TINY[: -len(FEW_CANDIDATES) - 1],
        "callbacks.search=null",
        "+callbacks.mine._target_=tests.commands.parts.CountSteps",
        "+callbacks.mine.unit=batches",
        "sampler=uniform",
        "callbacks.sampling.num_architectures=2",
        "optimizer=sgd",
        "scheduler=constant",
        "model.mixup=0.2",
        "model.cutmix=1.0",
        "model.drop_path_rate=0.1",
        "trainer.check_val_every_n_epoch=1",
        "logger=tensorboard",
        "run_dir=mine",
        folder=tmp_path,
    ).succeeded()
    left = files_below(tmp_path / "mine")
    assert left >= EVERY_RUN
    assert not left & EVERY_SEARCH
    assert [name for name in left if "events.out.tfevents" in name]
    assert (tmp_path / "mine" / "steps.txt").read_text() == "3 batches"
    metrics = columns(tmp_path / "mine")
    assert {f"val/top1_{name}" for name in ("smallest", "largest", "random")} <= set(metrics)
    assert "generation" not in outcome.out


def test_next_steps_name_only_what_is_there(tmp_path: Path) -> None:
    outcome = run_here("train", *SMALL_SPACE, *TINY, "callbacks.search=null", folder=tmp_path)
    assert "vitsearch.search checkpoint=" in outcome.succeeded().out
    assert "history.jsonl" not in outcome.out


def test_next_steps_can_be_typed_whatever_the_folder(tmp_path: Path) -> None:
    outcome = run_here("train", *SMALL_SPACE, *TINY, "run_dir=my runs/first", folder=tmp_path)
    found = re.search(r"another budget: +(.*)", outcome.succeeded().out)
    assert found is not None
    assert shlex.split(found[1])[3] == "checkpoint=my runs/first"


def test_next_steps_are_whole_lines_in_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "50")
    outcome = run_here("train", *SMALL_SPACE, *TINY, folder=tmp_path).succeeded()
    shown = outcome.run.relative_to(tmp_path)
    assert f"python -m vitsearch.search checkpoint={shown} 'constraint.macs=[" in outcome.out


def test_averaged_weights_and_a_random_search_on_the_test_split(tmp_path: Path) -> None:
    low, high = reachable_range(small_space(), "macs", 10)
    low, high = (3 * low + high) // 4, (low + 3 * high) // 4
    outcome = run_here(
        "train",
        *SMALL_SPACE,
        *TINY[: -len(FEW_CANDIDATES)],
        "callbacks=with_ema",
        "searcher=random",
        "searcher.population=5",
        "callbacks.search.use_test_split=true",
        f"constraint.macs=[{low},{high}]",
        folder=tmp_path,
    ).succeeded()
    history = read_history(outcome.run)
    assert len(history) == 5
    assert all(low <= record["macs"] <= high for record in history)
    assert {record["origin"] for record in history} == {"random"}
    assert re.search(r"best +│.*% │ +[0-9.]+ % │", outcome.out)


def test_own_images(colour_folders: Callable[..., Path], tmp_path: Path) -> None:
    colour_folders("images")
    outcome = run_here(
        "train",
        "+space=glit",
        "space.num_blocks=2",
        "data=image_folder",
        "data.root=../images",
        "data.image_size=32",
        "data.num_workers=0",
        *TINY,
        "data.batch_size=8",
        folder=tmp_path / "work",
    ).succeeded()
    assert "ImageFolder, 3 classes, 3 x 32 x 32" in outcome.out
    network = vitsearch.load_model(outcome.run / "best")
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    described = OmegaConf.load(outcome.run / "best" / "architecture.json")
    assert list(described.class_names) == ["ant", "bee", "cat"]

    again = run_here("search", f"checkpoint={outcome.run}", *FEW_CANDIDATES, folder=tmp_path / "w2")
    assert read_history(again.succeeded().run)[0]["total"] == 15


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    outcome = run_here(
        "train",
        *SMALL_SPACE,
        *TINY,
        "model._target_=tests.commands.parts.Diverging",
        "trainer.max_epochs=3",
        folder=tmp_path,
    )
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert "nan at step 4 (epoch 1)" in outcome.err
    left = files_below(outcome.run)
    assert "supernet.ckpt" in left
    assert not left & EVERY_SEARCH
    assert not [name for name in left if ".tmp" in name]
    assert torch.load(outcome.run / "supernet.ckpt", weights_only=True)["global_step"] == 3
    supernet = vitsearch.load_supernet(outcome.run)
    assert all(torch.isfinite(p).all() for p in supernet.parameters())


def test_a_sweep(tmp_path: Path) -> None:
    run_here("train", "--multirun", *SMALL_SPACE, *TINY, "seed=1,2", folder=tmp_path).succeeded()
    runs = sorted(path.parent for path in tmp_path.rglob("supernet.ckpt"))
    assert len(runs) == 2
    assert all(files_below(run) >= EVERY_RUN | EVERY_SEARCH for run in runs)
    assert read_history(runs[0]) != read_history(runs[1])
