"""Segmentation, from training to the report: every command of a run knows the task."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import vitsearch
from tests.commands.running import FEW_CANDIDATES, Outcome, read_history, run_here, run_module
from tests.commands.timm_folder import write_timm_folder
from tests.data.masks.conftest import write_mask
from vitsearch.lightning.tasks.segmentation import class_ious

FEW = (
    *("data.num_images=48", "data.num_test_images=12", "data.batch_size=8"),
    *("data.statistics_images=16", "data.search_per_class=8", "data.image_size=32"),
)
TINY = (
    *("trainer.devices=1", "trainer.accelerator=cpu", "trainer.max_epochs=1"),
    *("+trainer.limit_train_batches=2", *FEW_CANDIDATES),
)
SMALL = ("+space=glit", "space.num_blocks=1", "space.embed_dims=[24]")
SEGMENTS = ("model=segmenter", "data=fashion_scenes", *FEW)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Trained, searched, evaluated and reported; to be read, not changed."""
    folder = tmp_path_factory.mktemp("run")
    done = run_here("train", *SMALL, *SEGMENTS, *TINY, "run_dir=run", folder=folder).succeeded()
    run_here("evaluate", "model=run", "speed=null", folder=folder).succeeded()
    run_here("report", "run=run", folder=folder).succeeded()
    return done


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_a_classifier_s_space_is_trained_with_a_dense_head(run: Outcome) -> None:
    folder = run.folder / "run"
    net = vitsearch.load_supernet(folder)
    assert net.space.head.dense
    assert net.num_classes == 11
    assert "mIoU" in run.out
    assert "top-1" not in run.out
    best = vitsearch.load_model(folder / "best")
    said = best(torch.zeros(1, 3, 32, 32))
    assert said.shape == (1, 11, 8, 8)
    assert best.class_names is not None
    assert best.class_names[:2] == ("ground", "T-shirt/top")


def test_a_history_has_the_confusion_of_all_pixels(run: Outcome) -> None:
    for line in read_history(run.folder / "run"):
        confusion = line["confusion"]
        assert sum(map(sum, confusion)) == 8 * 32 * 32
        ious = [iou for iou in class_ious(confusion) if iou is not None]
        assert line["miou"] == pytest.approx(sum(ious) / len(ious))


def test_an_evaluation_says_every_class(run: Outcome) -> None:
    folder = run.folder / "run" / "evaluation"
    facts = read(folder / "evaluation.json")
    assert facts["task"] == "segmentation"
    assert facts["images"] == 12
    assert facts["pixels"] == 12 * 32 * 32
    assert [one["name"] for one in facts["classes"]][:2] == ["ground", "T-shirt/top"]
    rows = list(csv.reader((folder / "confusion.csv").open()))[1:]
    confusion = [[int(n) for n in row[1:]] for row in rows]
    assert [one["iou"] for one in facts["classes"]] == class_ious(confusion)
    result = read(run.folder / "run" / "search" / "result.json")
    tested = next(one for one in result["networks"] if one["name"] == "best")["test_miou"]
    assert facts["miou"] == pytest.approx(tested, abs=1e-3)  # the network taken out, in float32
    assert {"masks.png", "iou.png"} <= {file.name for file in folder.iterdir()}


def test_a_report_shows_masks_and_speaks_of_the_figure(run: Outcome) -> None:
    text = (run.folder / "run" / "report.html").read_text()
    assert "mIoU" in text
    assert "Masks of network" in text
    assert "data:image/png;base64" in text
    for words in ("top-1", "Top-1", "classifies"):
        assert words not in text


@pytest.mark.slow
def test_search_audit_retrain_evaluate_export(run: Outcome, tmp_path: Path) -> None:
    source = run.folder / "run"
    search = ("run_dir=again", "report=false", "trainer.accelerator=cpu", *FEW_CANDIDATES)
    again = run_here("search", f"checkpoint={source}", *search, folder=tmp_path).succeeded()
    assert "mIoU" in again.out
    first, second = read_history(source), read_history(tmp_path / "again")
    assert first == second

    few = ("n=4", "epochs=1", "compare_searches=null", "run_dir=audit", "trainer.accelerator=cpu")
    audit = run_here("audit", f"checkpoint={source}", *few, folder=tmp_path).succeeded()
    assert "mIoU" in audit.out
    assert read(tmp_path / "audit" / "audit.json")["figure"]["name"] == "miou"

    alone = ("architecture=again", "init=inherited", "trainer.max_epochs=1", "run_dir=alone")
    retrained = run_here("retrain", *alone, "trainer.accelerator=cpu", folder=tmp_path).succeeded()
    assert "pixel accuracy" in retrained.out
    result = read(tmp_path / "alone" / "result.json")
    assert set(result["test"]) == {"miou", "pixel_accuracy", "confusion", "total"}
    assert set(result["compared"]) == {"inherited"}

    run_here("evaluate", "model=alone", "speed=null", folder=tmp_path).succeeded()
    facts = read(tmp_path / "alone" / "evaluation" / "evaluation.json")
    assert facts["miou"] == pytest.approx(result["test"]["miou"])
    assert facts["pixel_accuracy"] == pytest.approx(result["test"]["pixel_accuracy"])

    for form in ("torch_export", "onnx"):
        run_here("export", "model=alone", f"format={form}", folder=tmp_path).succeeded()
    described = read(tmp_path / "alone" / "export" / "model.onnx.json")
    assert described["output"]["shape"] == ["batch", 11, 8, 8]
    assert described["largest_difference"] < 1e-4
    for form, message in (
        ("format=timm", "format=timm is for classifiers of images"),
        ("quantise=int8", "quantise=int8 knows classification only"),
    ):
        refused = run_here("export", "model=alone", "format=onnx", form, folder=tmp_path)
        assert refused.code == 2
        assert message in refused.err


def test_a_model_folder_alone_says_enough(run: Outcome, tmp_path: Path) -> None:
    """Without its run, a dense network is evaluated as one, on data that is given."""
    (run.folder / "run" / "best").rename(tmp_path / "model")
    try:
        given = ("data=fashion_scenes", *FEW, "speed=null", "run_dir=out")
        run_here("evaluate", "model=model", *given, folder=tmp_path).succeeded()
    finally:
        (tmp_path / "model").rename(run.folder / "run" / "best")
    facts = read(tmp_path / "out" / "evaluation.json")
    there = read(run.folder / "run" / "evaluation" / "evaluation.json")
    for name in ("miou", "classes", "confusions"):
        assert facts[name] == there[name]


@pytest.mark.slow
def test_two_processes_train_search_and_count_like_one(run: Outcome, tmp_path: Path) -> None:
    """What a search by two processes writes is what one writes; so are counts of pixels."""
    source = run.folder / "run"
    two = ("trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp")
    search = ("vitsearch.search", f"checkpoint={source}", "run_dir=both", "report=false")
    run_module(*search, *two, *FEW_CANDIDATES, folder=tmp_path).succeeded()
    assert read_history(tmp_path / "both") == read_history(source)
    count = ("vitsearch.evaluate", f"model={source}", "speed=null", "run_dir=counted")
    run_module(*count, *two, folder=tmp_path).succeeded()
    first, second = (
        read(folder / "evaluation.json") for folder in (source / "evaluation", tmp_path / "counted")
    )
    for name in ("miou", "pixel_accuracy", "classes", "confusions", "pixels"):
        assert first[name] == second[name]


def test_pretrained_weights_stay_and_the_head_is_fresh(tmp_path: Path) -> None:
    network = write_timm_folder(tmp_path / "timm", 10, in_chans=3)
    done = run_here(
        "train",
        "+space=timm",
        f"space.model={tmp_path / 'timm'}",
        "space.calibration_images=16",
        "model=segmenter",
        "data=fashion_scenes",
        *(name for name in FEW if "image_size" not in name),
        "data.image_size=28",
        *TINY,
        "callbacks.search=null",
        folder=tmp_path / "run",
    ).succeeded()
    original = vitsearch.load_model(done.run / "original")
    images = torch.randn(2, 3, 28, 28)
    assert original(images).shape == (2, 11, 4, 4)
    with torch.no_grad():
        ours = original.forward_features(images)
        theirs = network.forward_features(images)
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.slow
def test_a_classifier_is_retrained_as_a_segmenter(trained: Outcome, tmp_path: Path) -> None:
    """Of a run that classifies: its body is inherited, its head is fresh."""
    data = [name.replace("data.", "+data.") for name in FEW if "search_per_class" not in name]
    done = run_here(
        "retrain",
        f"architecture={trained.run}",
        "model=network_segmenter",
        "init=inherited",
        "data=fashion_scenes",
        *(name.removeprefix("+") for name in data if "image_size" not in name),
        *("data.image_size=28", "data.in_chans=1", "trainer.max_epochs=1", "run_dir=alone"),
        folder=tmp_path,
    ).succeeded()
    assert "the head is fresh: it answers for every pixel, 11 classes" in done.out
    assert "mIoU" in done.out
    result = read(tmp_path / "alone" / "result.json")
    assert result["compared"] == {}
    run_here("evaluate", "model=alone", "speed=null", folder=tmp_path).succeeded()


def test_a_pyramid_of_one_s_own_masks(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for number in range(16):
        generator = torch.Generator().manual_seed(number)
        mask = torch.randint(3, (20, 24), generator=generator).numpy()
        write_mask(root / "masks" / f"{number}.png", mask, palette=True)
        write_mask(root / "images" / f"{number}.png", 80 * mask)
    done = run_here(
        "train",
        *("+space=resnet18", "space/head=fpn", "space.head.width=8", "space.num_blocks=1"),
        *("space.depths=null", "space.embed_dims=[[8],[8,12],[12],[16]]", "space.stem.widths=[8]"),
        *("model=segmenter", "data=mask_folder", f"data.root={root}", "data.classes=[a,b,c]"),
        *("data.batch_size=4", "data.statistics_images=4", "data.num_workers=0"),
        *("data.image_size=64", *TINY, "callbacks.search.report=false"),
        folder=tmp_path / "run",
    ).succeeded()
    said = vitsearch.load_model(done.run / "best")(torch.zeros(1, 3, 64, 64))
    assert said.shape == (1, 3, 16, 16)
    write_mask(root / "masks" / "3.png", mask[:5])
    refused = run_here(
        "evaluate", f"model={done.run}", "speed=null", "run_dir=out", folder=tmp_path
    )
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert f"mask {root}/masks/3.png has 24 x 5 pixels, its image 24 x 20" in refused.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.mixup=0.2",), "mixup=0.2 is not for the task segmentation; legal: 0"),
        (("model.task.ignore_index=3",), "ignore_index=3 must be none of the classes"),
        (("objective=token_labelling",), "teaches answers for whole images"),
        (("model=classifier", "space/head=dense"), "classification does not go with a head"),
    ],
)
def test_what_does_not_go_together(
    overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    refused = run_here("train", *SMALL, *SEGMENTS, *TINY, *overrides, folder=tmp_path)
    assert refused.code == 2
    assert message in refused.err
    assert not list(tmp_path.rglob("config.yaml"))
