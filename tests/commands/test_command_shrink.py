"""`vitsearch.shrink`: a pretrained network of timm made smaller, without training."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import vitsearch
from tests.commands.killing import end, kill_when, lines_of, start
from tests.commands.running import Outcome, files_below, read_history, run_here, run_module
from tests.commands.test_command_errors import refused
from tests.commands.timm_folder import write_timm_folder
from vitsearch.commands.shrinking.spec import number_of_images

FEW = (
    "trainer.devices=1",
    "trainer.accelerator=cpu",
    "calibration_images=64",
    "head_images=200",
    "search_images=60",
    "searcher.population=5",
    "searcher.generations=2",
    "searcher.mutations=2",
    "searcher.crossovers=2",
)
QUIET = (*FEW, "use_test_split=false", "report=false")


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without a classifier, in a folder whose name needs quotes."""
    folder = tmp_path_factory.mktemp("timm") / "a=b, c"
    write_timm_folder(folder, num_classes=0)
    return folder


@pytest.fixture(scope="session")
def shrunk(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A whole run, to be looked at, not changed."""
    folder = tmp_path_factory.mktemp("shrunk")
    return run_here("shrink", f"model={original}", *FEW, folder=folder).succeeded()


def test_it_leaves_a_network_for_each_budget(shrunk: Outcome, original: Path) -> None:
    run = shrunk.run
    assert files_below(run) >= {
        "config.yaml",
        "finished.json",
        "report.html",
        "timing.json",
        "search/history.jsonl",
        "search/front.json",
        "search/shrink.json",
        "elastic/elastic.json",
        "elastic/calibration.safetensors",
        "best/model.safetensors",
    }
    assert not [name for name in files_below(run) if "/." in name or name.startswith(".")]
    found = json.loads((run / "search" / "shrink.json").read_text())
    full = vitsearch.from_timm(original, pretrained=True, num_classes=10)
    macs = full.cost(full.largest).macs
    assert found["full"]["macs"] == macs
    assert [one["budget"] for one in found["networks"]] == ["75%", "50%"]
    for one in found["networks"]:
        network = vitsearch.load_model(run / "models" / one["budget"])
        limit = macs * int(one["budget"][:-1]) / 100
        assert network.cost().macs == one["macs"] <= limit
        assert one["uniform"]["macs"] <= limit
        assert network.class_names is not None
        assert network.class_names[0] == "T-shirt/top"
        assert network.architecture.to_dict() == one["architecture"]
        assert one["test"] is not None
    best = vitsearch.load_model(run)
    first = vitsearch.load_model(run / "models" / "75%")
    for name, tensor in first.state_dict().items():
        assert torch.equal(best.state_dict()[name], tensor), name
    history = read_history(run)
    assert {one["origin"] for one in history} >= {"initial", "mutation", "crossover"}
    assert all(one["total"] == 60 for one in history)
    digests = {one["digest"] for one in history}
    assert {one["digest"] for one in found["networks"]} <= digests
    assert json.loads((run / "search" / "best.json").read_text())["digest"] in digests


def test_what_it_says(shrunk: Outcome, original: Path) -> None:
    assert shrunk.err == ""
    for words in (
        "the network has no classifier: a linear head is fitted once",
        str(original),
        "calibrated on 64 training images",
        "full network",
        "75%, uniform cut",
        "report: ",
    ):
        assert words in shrunk.out, words
    config = OmegaConf.load(shrunk.run / "config.yaml")
    assert config.command == "shrink"
    assert config.model.path == str(original)
    assert config.data.image_size == 28


def test_the_commands_that_it_prints(shrunk: Outcome) -> None:
    printed = re.findall(r":\s+(python -m vitsearch\..*)", shrunk.out)
    assert len(printed) == 3
    for line in printed:
        _, _, module, *overrides = shlex.split(line)
        name = module.removeprefix("vitsearch.")
        if name == "export":
            overrides[-1] = "format=safetensors"
        few = {
            "evaluate": ("speed=null", "trainer.accelerator=cpu", "trainer.devices=1"),
            "export": (),
            "retrain": (
                "trainer.max_epochs=1",
                "+trainer.limit_train_batches=2",
                "trainer.accelerator=cpu",
                "trainer.devices=1",
                "run_dir=retrained",
            ),
        }[name]
        run_here(name, *overrides, *few, folder=shrunk.folder).succeeded()
    assert (shrunk.run / "evaluation" / "50%").is_dir()
    assert (shrunk.run / "export" / "50%").is_dir()
    assert vitsearch.load_model(shrunk.folder / "retrained").cost().macs > 0


def test_any_budget_from_its_folder(shrunk: Outcome) -> None:
    elastic = vitsearch.load_elastic(shrunk.run)
    assert elastic.figure == "top1"
    assert elastic.full.architecture == elastic.supernet.largest
    half = elastic.at(macs=0.5)
    assert half.cost().macs <= 0.5 * elastic.full.cost.macs
    assert half.class_names == elastic.supernet.class_names
    point = elastic.point(macs=0.5)
    assert point.score == max(
        one["top1"]
        for one in read_history(shrunk.run)
        if one["macs"] <= 0.5 * elastic.full.cost.macs
    )


def test_its_report(shrunk: Outcome) -> None:
    html = (shrunk.run / "report.html").read_text().replace("\u00a0", " ")
    found = json.loads((shrunk.run / "search" / "shrink.json").read_text())
    assert (shrunk.run / "report" / "shrinking.png").is_file()
    for words in (
        "Nothing was trained",
        "uniform cuts, not repaired",
        "75%, uniform cut",
        "Accuracy before any training",
        f"{100 * found['full']['search']:.1f} %",
        "python -m vitsearch.shrink",
        "A linear classifier was fitted",
    ):
        assert words in html, words
    before = (shrunk.run / "report.html").read_bytes()
    run_here("report", f"run={shrunk.run}", folder=shrunk.folder).succeeded()
    assert (shrunk.run / "report.html").read_bytes() == before


def test_features_without_labels(original: Path, tmp_path: Path) -> None:
    outcome = run_here(
        "shrink", f"model={original}", "score=fidelity", "budgets=60%", *QUIET, folder=tmp_path
    ).succeeded()
    history = read_history(outcome.run)
    for one in history:
        assert one["fidelity"] == 2 * one["agreement"] / (10_000 * one["total"]) - 1
    largest = max(history, key=lambda one: one["macs"])
    assert largest["fidelity"] == 1
    elastic = vitsearch.load_elastic(outcome.run)
    assert elastic.figure == "fidelity"
    assert vitsearch.load_model(outcome.run / "models" / "60%").num_classes == 0
    assert "linear head" not in outcome.out


@pytest.mark.parametrize("score", ["accuracy", "fidelity"])
def test_units_in_order_by_what_the_loss_misses(
    score: str, original: Path, shrunk: Outcome, tmp_path: Path
) -> None:
    """With labels by the classifier's loss; without them by the distance of two views."""
    command = (f"model={original}", *QUIET, f"score={score}")
    outcome = run_here("shrink", *command, "importance=taylor", folder=tmp_path).succeeded()
    assert OmegaConf.load(outcome.run / "config.yaml").importance == "taylor"
    found = json.loads((outcome.run / "search" / "shrink.json").read_text())
    assert found["importance"] == "taylor"
    net = vitsearch.load_elastic(outcome.run).supernet
    other = vitsearch.load_elastic(shrunk.run).supernet
    name = "stages.0.blocks.0.mlp.fc1.weight"
    assert not torch.equal(net.state_dict()[name], other.state_dict()[name])
    data = instantiate(OmegaConf.load(outcome.run / "config.yaml").data)
    batches = list(data.sample_dataloader(64))
    seen = batches if score == "accuracy" else [images for images, _ in batches]
    for record in net.calibrate(seen, gradients=True).layers.values():
        assert record.taylor is not None
        assert (record.taylor.diff() <= 1e-5 * record.taylor[0]).all()
    again = run_here(
        "shrink", *command, "importance=variance", f"run_dir={outcome.run}", folder=tmp_path
    )
    assert again.code == 2
    assert "importance was taylor, not variance" in again.err


def test_windows_in_place_of_budgets(tmp_path: Path) -> None:
    write_timm_folder(tmp_path / "net")
    outcome = run_here(
        "shrink",
        f"model={tmp_path / 'net'}",
        "constraint.macs=[200000,400000]",
        "constraint.params=[null,20000]",
        *QUIET,
        folder=tmp_path,
    ).succeeded()
    for one in read_history(outcome.run):
        assert 200_000 <= one["macs"] <= 400_000
        assert one["params"] <= 20_000
    network = vitsearch.load_model(outcome.run / "models" / "400K")
    assert 200_000 <= network.cost().macs <= 400_000
    assert "linear head" not in outcome.out  # its own classifier has the ten classes


def test_data_is_prepared_as_the_network_wants_it(tmp_path: Path) -> None:
    normal = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    write_timm_folder(tmp_path / "rgb", 7, preprocessing=normal, in_chans=3)
    outcome = run_here(
        "shrink", f"model={tmp_path / 'rgb'}", "image_size=35", *QUIET, folder=tmp_path
    ).succeeded()
    data = OmegaConf.load(outcome.run / "config.yaml").data
    assert (data.image_size, data.in_chans, list(data.mean)) == (35, 3, [0.1, 0.2, 0.3])
    assert "tells 7 classes apart, the data has 10: a linear head" in outcome.out
    network = vitsearch.load_model(outcome.run / "models" / "75%")
    assert network.pretrained_cfg["std"] == (0.4, 0.5, 0.6)
    assert network.pretrained_cfg["input_size"] == (3, 35, 35)


ERRORS = [
    (("image_size=30",), ("30", "patch")),
    (("budgets=[0.01]",), ("budgets: 1% is", "below the smallest network")),
    (("budgets=[half]",), ("budgets: 'half' is no budget",)),
    (("budgets=[0.5]", "constraint.macs=[null,1M]"), ("budgets and constraint.macs",)),
    (("score=precision",), ("score=precision", "fidelity")),
    (("importance=beauty",), ("importance=beauty", "variance", "taylor")),
    (("data.image_size=56",), ("data.image_size=56", "image_size=56", "28 px")),
    (("searcher=evolution",), ("searcher", "nsga2")),
    (("finalists=0",), ("finalists=0", "1 or more")),
    (("search_images=many",), ("search_images=many", "auto")),
    (("weights=nowhere.pth",), ("weights=nowhere.pth is no file",)),
    (("model=vit_tiny_patch16_22",), ("vit_tiny_patch16_22", "vit_tiny_patch16_224")),
    (("model=swin_tiny_patch4_window7_224", "weights=null"), ("swin",)),
    (("options.mlp_hidden=[0]",), ("options.mlp_hidden",)),
    (("use_test_split=maybe",), ("use_test_split=maybe",)),
]


@pytest.mark.parametrize(("given", "words"), ERRORS)
def test_a_mistake_is_one_line(
    given: Sequence[str], words: Sequence[str], original: Path, tmp_path: Path
) -> None:
    outcome = run_here("shrink", f"model={original}", *QUIET, *given, folder=tmp_path)
    refused(outcome, *words)


@pytest.mark.parametrize(
    ("macs", "images"), [(30_000_000, 1000), (564_000_000, 266), (10**10, 256)]
)
def test_large_networks_are_scored_on_fewer_images(macs: int, images: int) -> None:
    assert number_of_images("auto", macs) == images
    assert number_of_images(77, macs) == 77


def results(run: Path) -> dict[str, bytes]:
    """All that two runs have in common, byte by byte."""
    apart = {"config.yaml", "finished.json", "timing.json", ".lock"}
    return {name: (run / name).read_bytes() for name in files_below(run) if name not in apart}


@pytest.fixture(scope="module")
def straight(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    command = (f"model={original}", *QUIET, "run_dir=run")
    assert end(start("shrink", *command, folder=folder)) == 0, (folder / ".err").read_text()
    return folder / "run"


def test_killed_at_any_moment(straight: Path, original: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = (f"model={original}", *QUIET, "run_dir=run")
    moments: Sequence[Callable[[], bool]] = (
        lambda: (run / "config.yaml").is_file(),
        lambda: (run / "elastic").is_dir(),
        lambda: lines_of(run) >= 3,
        lambda: lines_of(run) >= 7,
        lambda: (run / "models").is_dir(),
        lambda: (run / "models" / "75%").is_dir(),
        lambda: (run / "search" / "result.json").is_file(),
    )
    for moment in moments:
        process = start("shrink", *command, folder=tmp_path)
        assert kill_when(process, moment, signal.SIGKILL) in (-signal.SIGKILL, 0)
    assert end(start("shrink", *command, folder=tmp_path)) == 0
    assert results(run) == results(straight)
    assert (tmp_path / ".err").read_text() == ""


def test_interrupted_and_continued_without_the_original(straight: Path, tmp_path: Path) -> None:
    write_timm_folder(tmp_path / "net", num_classes=0)
    run = tmp_path / "run"
    command = (f"model={tmp_path / 'net'}", *QUIET, "run_dir=run")
    process = start("shrink", *command, folder=tmp_path)
    assert kill_when(process, lambda: lines_of(run) >= 2, signal.SIGTERM) == 143
    line = (tmp_path / ".err").read_text().splitlines()[-1]
    assert "go on with: python -m vitsearch.shrink resume=run" in line
    (tmp_path / "net" / "model.safetensors").unlink()
    assert end(start("shrink", "resume=run", folder=tmp_path)) == 0
    assert (run / "search" / "history.jsonl").read_bytes() == (
        straight / "search" / "history.jsonl"
    ).read_bytes()
    again = run_here("shrink", "resume=run", folder=tmp_path).succeeded()
    assert "this run is finished" in again.out
    other = run_here("shrink", *command, "seed=1", folder=tmp_path)
    assert other.code == 2
    assert "seed was 0, not 1" in other.err


@pytest.mark.slow
def test_two_processes_are_one(straight: Path, original: Path, tmp_path: Path) -> None:
    two = ("trainer.devices=2", "trainer.strategy=ddp")
    outcome = run_module(
        "vitsearch.shrink", f"model={original}", *QUIET, *two, "run_dir=run", folder=tmp_path
    ).succeeded()
    assert outcome.out.count("before any training") == 1
    assert results(tmp_path / "run") == results(straight)
