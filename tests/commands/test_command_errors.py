"""A user's mistake ends with exit code 2, one line on stderr, and nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.commands.running import (
    FEW_CANDIDATES,
    SMALL_SPACE,
    TINY,
    Outcome,
    files_below,
    run_here,
    run_module,
    small_range,
)
from vitsearch import list_spaces


def refused(outcome: Outcome, *words: str) -> str:
    """Expect one line that holds all words; returns it."""
    assert outcome.code == 2, (outcome.code, outcome.out, outcome.err)
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    for word in words:
        assert word in lines[0], lines[0]
    assert lines[0].startswith("vitsearch: ")
    assert outcome.out == ""
    assert files_below(outcome.folder) == set()
    return lines[0]


# One override, and what the message must hold: the name, the value, what is legal.
SETTINGS = [
    ("optimizer=adam", ("optimizer=adam", "adamw", "sgd")),
    ("callbacks=none", ("callbacks=none", "default", "with_ema")),
    ("space/mixer=nope", ("space/mixer=nope", "glit_demo")),
    ("space.mixer.nope=1", ("space.mixer.nope", "+space.mixer.nope=1")),
    ("+space.mixer.nope=1", ("space.mixer.nope", "kernel_sizes")),
    ("+space.nope=1", ("space.nope", "num_blocks")),
    ("space.num_blocks=0", ("space.num_blocks=0", "1 or more")),
    ("space.mlp.ratios=[2,2]", ("space.mlp.ratios=[2, 2]", "twice")),
    ("space.mlp.ratios=[]", ("space.mlp.ratios", "at least one")),
    ("space.mlp.ratios=[2,x]", ("space.mlp.ratios", "'x'", "number")),
    ("space.mixer.local=spiral", ("space.mixer.local=spiral", "sequence", "grid")),
    ("constraint.macs=[1,2]", ("constraint.macs=[1, 2]", "reaches", small_range())),
    ("constraint.macs=[1G,null]", ("constraint.macs", "reaches", small_range())),
    ("constraint.params=[1,2]", ("constraint.params=[1, 2]", "reaches")),
    ("constraint.macs=[1]", ("constraint.macs=[1]", "[low, high]")),
    ("constraint.macs=5", ("constraint.macs=5", "[low, high]")),
    ("constraint.macs=[2M,1M]", ("constraint.macs", "lower bound comes first")),
    ("constraint.macs=[few,many]", ("constraint.macs", "'few'", "number")),
    ("constraint.latency_ms=[2,1]", ("constraint.latency_ms", "lower bound comes first")),
    ("constraint.memory_mb=5", ("constraint.memory_mb=5", "[low, high]")),
    ("constraint.measure.device=toaster", ("constraint.measure.device=toaster", "cpu", "cuda")),
    ("constraint.measure.dtype=int8", ("constraint.measure.dtype=int8", "float32", "bfloat16")),
    ("constraint.measure.repeats=0", ("constraint.measure.repeats=0", "1 or more")),
    ("+constraint.measure.runs=0", ("constraint.measure.runs", "repeats")),
    ("callbacks.search.halving=often", ("halving=often", "true or false")),
    ("+constraint.weight=[1,5]", ("constraint.weight", "macs", "params")),
    ("data=fashion_mnist", ("data.root", "command line")),
    ("data=image_folder", ("data.root", "command line")),
    ("data.batch_size=2", ("batch_size=2", "num_architectures=4")),
    ("data.batch_size=63", ("batch_size=63", "num_architectures=4", "multiple, such as 60")),
    ("data.batch_size=6000", ("batch_size=6000", "5950")),
    ("data.image_size=30", ("image_size 30", "multiple of 4")),
    ("data.in_chans=2", ("in_chans=2", "1 or 3")),
    ("data.search_fraction=2", ("search_fraction=2", "must lie in (0, 1)")),
    ("trainer.max_epochs=0", ("trainer.max_epochs=0", "1 or more")),
    ("trainer.max_epochs=-1", ("trainer.max_epochs=-1", "-1 with trainer.max_steps")),
    ("trainer.max_steps=0", ("trainer.max_steps=0", "1 or more")),
    ("scheduler.sched=plateau", ("scheduler.sched=plateau", "names: cosine")),
    ("+scheduler.cooldown_epochs=20", ("cooldown_epochs=20", "leave nothing")),
    ("trainer.max_epochs=1.5", ("trainer.max_epochs=1.5", "whole number")),
    ("trainer.accelerator=toaster", ("accelerator='toaster'", "cpu")),
    ("trainer.devices=0", ("devices=0", "cpu")),
    ("trainer.strategy=nope", ("strategy='nope'", "ddp")),
    ("+trainer.nope=1", ("trainer", "'nope'")),
    ("model.label_smoothing=2", ("label_smoothing=2", "[0, 1)")),
    ("model.drop_path_rate=1", ("drop_path_rate=1", "[0, 1)")),
    ("model.zero_init_residual=perhaps", ("zero_init_residual=perhaps", "true, false, auto")),
    ("model._target_=nope.Nope", ("model", "nope.Nope")),
    ("callbacks.sampling.num_architectures=0", ("num_architectures=0", "1 or more")),
    ("searcher.population=0", ("searcher.population=0", "1 or more")),
    ("searcher.generations=0", ("searcher.generations=0", "1 or more")),
    ("searcher.parents=0", ("searcher.parents=0", "1 or more")),
    ("searcher.mutations=-1", ("searcher.mutations=-1", "0 or more")),
    ("searcher.mutation_prob=2", ("searcher.mutation_prob=2", "[0, 1]")),
    ("searcher.mutation_prob={*.depth:0.4}", ("searcher.mutation_prob", "*.depth", "glit")),
    ("searcher.mutation_prob={*:2}", ("searcher.mutation_prob.*=2", "[0, 1]")),
    ("+callbacks.mine._target_=nope.Mine", ("callbacks.mine", "nope.Mine")),
    ("nonsense", ("nonsense", "name=value")),
    ("trainer.max_epoch=3", ("max_epoch=3", "max_epochs")),
    ("optimizer.opt=adamx", ("optimizer.opt=adamx", "adamw")),
    ("+optimizer.nope=1", ("optimizer", "nope")),
    ("optimizer.lr=-1", ("optimizer.lr=-1",)),
    ("optimizer.lr=fast", ("optimizer.lr=fast", "number", "auto")),
    ("scheduler.sched=cosin", ("scheduler.sched=cosin", "cosine")),
    ("+scheduler.nope=1", ("scheduler", "nope")),
    ("searcher.population=many", ("searcher.population=many",)),
    ("searcher.population=2.5", ("searcher.population=2.5",)),
    ("+searcher.nope=1", ("searcher", "nope")),
    ("model.mixup=-1", ("mixup=-1",)),
    ("model.label_smoothing=x", ("label_smoothing=x",)),
    ("seed=x", ("seed=x",)),
    ("seed=-1", ("seed=-1",)),
    ("searcher=null", ("searcher=null",)),
    ("+trainer.max_steps=0", ("trainer.max_steps=0",)),
    ("experiment=nope", ("experiment=nope is unknown", "glit_tiny_imagenet")),
    ("+callbacks.mine._target_=pathlib.Path", ("callbacks.mine",)),
]


@pytest.mark.parametrize(("override", "words"), SETTINGS)
def test_a_setting_that_is_not_legal(override: str, words: tuple[str, ...], tmp_path: Path) -> None:
    refused(run_here("train", *SMALL_SPACE, *TINY, override, folder=tmp_path / "work"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), list_spaces()),
        (("+space=nope",), ["nope", *list_spaces()]),
        (("+space=glit_tny",), ["glit_tny", "did you mean glit_tiny", *list_spaces()]),
        (("space=glit",), ["+space=<name>"]),
        (("+space=my.yaml",), ["my.yaml", *list_spaces()]),
        (("+space=../data/fashion_mini",), ["_target_", "num_blocks"]),
    ],
)
def test_a_space_that_is_none(arguments: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    refused(run_here("train", *arguments, folder=tmp_path / "work"), *words)


def test_no_empty_folder_is_left(tmp_path: Path) -> None:
    refused(run_here("train", folder=tmp_path / "work"))
    assert list((tmp_path / "work").iterdir()) == []


def test_data_that_is_not_there(colour_folders: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    images = ("data=image_folder", "data.num_workers=0", "data.image_size=28")

    def run(*overrides: str) -> Outcome:
        return run_here("train", *SMALL_SPACE, *TINY, *overrides, folder=tmp_path / "work")

    fashion = ("data=fashion_mnist", "data.download=false")
    refused(run(*fashion, "data.root=nowhere"), "root=nowhere", "train-images-idx3-ubyte")
    refused(run(*fashion, "data.root=../empty"), "root=../empty", "train-images-idx3-ubyte")
    refused(run(*images, "data.root=nowhere"), "root=nowhere", "not a folder")
    refused(run(*images, "data.root=../empty"), "root=../empty", "<class>")
    colour_folders("one", classes=["ant"])
    refused(run(*images, "data.root=../one"), "1", "2 or more")
    colour_folders("few", per_class=2)
    refused(run(*images, "data.root=../few"), "'ant'", "too few", "search split")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    refused(
        run_here("train", *SMALL_SPACE, *TINY, "trainer.accelerator=gpu", folder=tmp_path / "w"),
        "trainer",
        "gpu",
    )


def test_a_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for run_dir in ("../file", "../file/run"):
        outcome = run_here("train", *SMALL_SPACE, f"run_dir={run_dir}", folder=tmp_path / "work")
        refused(outcome, run_dir, "cannot be written")


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard.{name}", False)
    outcome = run_here("train", *SMALL_SPACE, *TINY, "logger=tensorboard", folder=tmp_path / "work")
    refused(outcome, "logger=tensorboard", "pip install 'vitsearch[tensorboard]'")


def test_a_sweep_over_several_processes(tmp_path: Path) -> None:
    outcome = run_here(
        "train", "--multirun", *SMALL_SPACE, "trainer.devices=2", "seed=1,2", folder=tmp_path
    )
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "trainer.devices=2" in line
    assert "torchrun" in line
    assert {Path(name).name for name in files_below(tmp_path)} == {"multirun.yaml"}  # Hydra's own


SEARCH = [
    ("searcher.population=0", ("searcher.population=0",)),
    ("searcher=nope", ("searcher=nope", "evolution", "nsga2", "random")),
    ("halving=often", ("halving=often", "true or false")),
    ("constraint.measure.device=toaster", ("constraint.measure.device=toaster", "cpu")),
    ("constraint.macs=[1,2]", ("constraint.macs=[1, 2]", small_range())),
    ("trainer.accelerator=toaster", ("toaster", "cpu")),
    ("+trainer.max_epochs=1", ("trainer", "max_epochs")),
    ("+space=glit", ("another space", "glit")),
    ("+space=gilt", ("gilt", "glit_tiny")),
]


@pytest.mark.parametrize(("override", "words"), SEARCH)
def test_a_search_that_cannot_be(
    override: str, words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    arguments = (f"checkpoint={trained.run}", *FEW_CANDIDATES, override)
    refused(run_here("search", *arguments, folder=tmp_path / "work"), *words)


def test_a_checkpoint_that_is_none(
    trained: Outcome, colour_folders: Callable[..., Path], tmp_path: Path
) -> None:
    def run(*overrides: str) -> Outcome:
        return run_here("search", *FEW_CANDIDATES, *overrides, folder=tmp_path / "work")

    (tmp_path / "empty").mkdir()
    refused(run(), "checkpoint")
    refused(run("checkpoint=nowhere"), "checkpoint=nowhere", "supernet.ckpt")
    refused(run("checkpoint=../empty"), "checkpoint=../empty", "supernet.ckpt")
    whole = (trained.run / "supernet.ckpt").read_bytes()
    (tmp_path / "half.ckpt").write_bytes(whole[: len(whole) // 2])
    refused(run("checkpoint=../half.ckpt"), "half.ckpt", "cannot be read")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    refused(run("checkpoint=../other.ckpt"), "other.ckpt", "no supernet of vitsearch")

    shutil.copy(trained.run / "supernet.ckpt", tmp_path / "alone.ckpt")
    refused(run("checkpoint=../alone.ckpt"), "config.yaml", "data=<name>")
    colour_folders("images")
    data = ("data=image_folder", "data.root=../images", "data.num_workers=0")
    refused(run("checkpoint=../alone.ckpt", *data), "10 classes", "3")


def test_a_checkpoint_that_is_text(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    outcome = run_here("search", "checkpoint=../notes.txt", folder=tmp_path / "work")
    refused(outcome, "notes.txt", "cannot be read")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("vitsearch.train", ("+space=glit_tny",), ("glit_tny", "glit_tiny")),
        (
            "vitsearch.train",
            ("+space=glit", "data.batch_size=6000", "trainer.devices=1", "trainer.accelerator=cpu"),
            ("batch_size=6000",),
        ),
        ("vitsearch.search", ("checkpoint=nowhere",), ("checkpoint=nowhere",)),
    ],
)
def test_exit_status_of_a_process(
    module: str, arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    refused(run_module(module, *arguments, folder=tmp_path / "work"), *words)
