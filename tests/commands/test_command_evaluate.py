"""`vitsearch.evaluate`: how good a finished network is, from its run, alone, or the authors'."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vitsearch
from tests.commands.running import Outcome, files_below, run_here, run_module
from tests.commands.test_command_errors import refused
from tests.supernet.authors import authors_state
from vitsearch.data import FashionMini, ImageFolder
from vitsearch.supernet.storage.importing.load import FAMILIES

QUICK = ("trainer.accelerator=cpu", "trainer.devices=1", "speed=null")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
FILES = {
    "config.yaml",
    "evaluation.json",
    "predictions.csv",
    "confusion.csv",
    "confusion.png",
    "calibration.png",
}


@pytest.fixture
def run(trained: Outcome, tmp_path: Path) -> Path:
    """A copy of what a run leaves of its best network."""
    target = tmp_path / "run"
    shutil.copytree(trained.run / "best", target / "best")
    shutil.copy(trained.run / "config.yaml", target)
    return target


def read(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_a_run_by_its_own_data(run: Path, tmp_path: Path) -> None:
    outcome = run_here("evaluate", "model=run", *QUICK, folder=tmp_path).succeeded()
    assert outcome.err == ""
    assert files_below(run / "evaluation") == FILES
    facts = read(run / "evaluation")

    network, data = vitsearch.load_model(run), FashionMini()
    data.setup()
    with torch.inference_mode():
        logits = torch.cat([network(images) for images, _ in data.test_dataloader()])
    labels = data.split_labels("test")
    right = logits.argmax(dim=1) == labels
    assert facts["top1"]["correct"] == int(right.sum())
    top5 = (logits.topk(5).indices == labels[:, None]).any(dim=1)
    assert facts["top5"]["correct"] == int(top5.sum())
    assert facts["images"] == 2000
    assert [one["name"] for one in facts["classes"]] == list(data.class_names)
    assert facts["model"]["macs"] == network.cost().macs
    assert facts["speed"] is None

    rows = list(csv.DictReader((run / "evaluation" / "predictions.csv").open(encoding="utf-8")))
    assert [row["image"] for row in rows] == data.sample_ids("test")
    for row, index, label in zip(rows, logits.argmax(dim=1).tolist(), labels.tolist(), strict=True):
        assert row["predicted"] == data.class_names[index]
        assert row["true"] == data.class_names[label]
    for words in ("top-1", "calibration error", "Ankle boot", "2000 images of 10 classes"):
        assert words in outcome.out


def test_speed_and_another_split(run: Path, tmp_path: Path) -> None:
    outcome = run_here(
        "evaluate",
        "model=run/best",
        "split=search",
        "batch_size=7",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.precision=bf16-true",
        "speed.batch_sizes=[1,3]",
        "speed.repeats=1",
        "speed.memory=false",
        "run_dir=here",
        folder=tmp_path,
    ).succeeded()
    facts = read(tmp_path / "here")
    assert facts["images"] == 50
    assert facts["environment"]["precision"] == "bf16-true"
    batches = facts["speed"]["batches"]
    assert [row["batch_size"] for row in batches] == [1, 3]
    assert all(row["latency_ms"] > 0 < row["images_per_second"] for row in batches)
    assert "search split: 50 images" in outcome.out
    assert not (run / "evaluation").exists()


def test_all_images_of_a_colour_folder(colour_folders: Callable[..., Path], tmp_path: Path) -> None:
    """Fewer than a batch of training; normalised as the network was trained; one unreadable."""
    root = colour_folders("images", per_class=9)
    broken = root / "bee" / "004.png"
    broken.write_bytes(broken.read_bytes()[:200])
    space = vitsearch.build_space("vit_resnas", image_size=32, in_chans=3)
    network = vitsearch.VisionTransformer(space, space.smallest(), num_classes=3)
    network.set_preprocessing({"mean": MEAN, "std": STD})
    vitsearch.save_model(network, tmp_path / "net", class_names=("ant", "bee", "cat"))
    folder = f"data.root={root}"
    quick = ("data.num_workers=0", "data.check_files=false", *QUICK)
    options = ("data=image_folder", folder, "split=all", *quick)
    outcome = run_here("evaluate", "model=net", *options, folder=tmp_path).succeeded()
    assert "skipping 1 image(s)" in outcome.err
    facts = read(tmp_path / "outputs" / "evaluation" / "net")
    assert (facts["images"], facts["data"]["skipped"]) == (26, 1)
    assert facts["top5"] is None
    rows = (tmp_path / "outputs/evaluation/net/predictions.csv").read_text().splitlines()[1:]
    assert len(rows) == 26
    assert not any("bee/004.png" in row for row in rows)
    data = ImageFolder(root, image_size=32, batch_size=1, mean=MEAN, std=STD)
    images, _ = next(iter(data.evaluation_dataloader("test")))
    with torch.inference_mode():
        said = network.eval()(images).argmax(dim=1)[0]
    assert f"{data.class_names[said]}," in next(r for r in rows if data.sample_ids("test")[0] in r)

    wrong = ("model=../net", "data=image_folder", folder, "+data.mean=0.5", *quick)
    refused(run_here("evaluate", *wrong, folder=tmp_path / "b"), "mean=[0.5, 0.5, 0.5]", "0.4")
    (root / "bee").rename(root / "wasp")
    renamed = run_here("evaluate", "model=../net", *options, folder=tmp_path / "c")
    refused(renamed, "class 1", "'bee'", "'cat'")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), ("no model", "model=<run folder")),
        (("model=nowhere",), ("model=nowhere", "no folder", "glit_tiny")),
        (("model=glit_tiny",), ("model=glit_tiny", "checkpoint=")),
        (("model=glit_tiny", "checkpoint=no.pth", "data=fashion_mini"), ("no.pth",)),
        (("model={run}", "checkpoint=x.pth"), ("checkpoint=x.pth", "published name")),
        (("model={run}", "split=val"), ("split=val", "test, search, train, all")),
        (("model={run}", "calibration_bins=0"), ("calibration_bins=0", "1 or more")),
        (("model={run}", "batch_size=0"), ("batch_size=0", "1 or more")),
        (("model={run}", "speed.batch_sizes=4"), ("speed.batch_sizes=4", "list")),
        (("model={run}", "speed.batch_sizes=[0]"), ("speed.batch_size=0", "1 or more")),
        (("model={run}", "speed.batch_sizes=[1,1]"), ("speed.batch_sizes", "twice")),
        (("model={run}", "speed.dtype=int8"), ("speed.dtype=int8", "bfloat16")),
        (("model={run}", "speed.memory=1"), ("speed.memory=1", "true or false")),
        (("model={run}", "+speed.batch=1"), ("speed.batch", "repeats")),
        (("model={run}", "trainer.accelerator=toaster"), ("toaster", "cpu")),
        (("model={alone}",), ("unknown", "add data=<name>")),
        (("model={run}", "data=image_folder"), ("data.root",)),
        (("-m", "model=a,b"), ("--multirun", "one network")),
    ],
)
def test_what_is_refused(
    overrides: tuple[str, ...], words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(trained.run / "best", alone)
    named = [text.format(run=trained.run, alone=alone) for text in overrides]
    outcome = run_here("evaluate", *named, folder=tmp_path / "work")
    refused(outcome, *words)
    assert not (trained.run / "evaluation").exists()


def test_other_classes(
    trained: Outcome, colour_folders: Callable[..., Path], tmp_path: Path
) -> None:
    root = colour_folders("images")
    options = ("data=image_folder", f"data.root={root}", "data.num_workers=0", *QUICK)
    outcome = run_here("evaluate", f"model={trained.run}", *options, folder=tmp_path / "work")
    refused(outcome, "10 classes", "the data has 3")


@pytest.mark.slow
def test_two_processes_count_like_one(run: Path, tmp_path: Path) -> None:
    common = ("model=run", "trainer.accelerator=cpu", "speed=null", "data=fashion_mini")
    alone = run_here("evaluate", *common, "trainer.devices=1", "run_dir=one", folder=tmp_path)
    assert alone.succeeded().err == ""
    two = ("trainer.devices=2", "trainer.strategy=ddp", "batch_size=33", "run_dir=two")
    both = run_module("vitsearch.evaluate", *common, *two, folder=tmp_path).succeeded()
    assert both.err == ""
    assert both.out.count("top-1") == 1
    one, other = read(tmp_path / "one"), read(tmp_path / "two")
    assert other.pop("environment")["processes"] == 2
    one.pop("environment")
    for name in ("confusion.csv", "predictions.csv"):
        first, second = ((tmp_path / f / name).read_text() for f in ("one", "two"))
        assert [row.split(",")[:3] for row in first.splitlines()] == [
            row.split(",")[:3] for row in second.splitlines()
        ]
    assert one["top1"] == other["top1"]
    assert one["confusions"] == other["confusions"]
    assert one["cross_entropy"] == pytest.approx(other["cross_entropy"], rel=1e-5)


def test_the_authors_weights(colour_folders: Callable[..., Path], tmp_path: Path) -> None:
    state = authors_state("glit_tiny")
    weight = FAMILIES["glit"].classifier
    for name in (weight, weight.removesuffix("weight") + "bias"):
        state[name] = state[name][:3]
    torch.save({"model": state}, tmp_path / "authors.pth")
    root = colour_folders("images", per_class=9)
    options = ("checkpoint=authors.pth", "data=image_folder", f"data.root={root}", *QUICK)
    outcome = run_here(
        "evaluate", "model=glit_tiny", *options, "data.num_workers=0", folder=tmp_path
    ).succeeded()
    facts = read(tmp_path / "outputs" / "evaluation" / "glit_tiny")
    assert facts["model"]["name"] == "glit_tiny"
    assert facts["model"]["digest"] == vitsearch.published("glit_tiny")[1].digest
    assert "authors.pth" in outcome.out
    assert [one["name"] for one in facts["classes"]] == ["ant", "bee", "cat"]
