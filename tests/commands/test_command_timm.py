"""`+space=timm`: a pretrained network trained on as a supernet, from command to command."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import vitsearch
from tests.commands.killing import end, kill_when, results, start, weights
from tests.commands.running import TINY, TINY_SEARCH, Outcome, run_here, run_module
from tests.commands.timm_folder import write_timm_folder
from vitsearch import SearchSpace, build_space
from vitsearch.errors import SpaceError

RECIPE = (
    "experiment=elastic_timm",
    *TINY,
    "data.batch_size=15",
    "space.calibration_images=60",
    "objective.feature_distillation.layers=[-1,0]",
    "callbacks.sampling.growth_epochs=1",
    "scheduler.warmup_epochs=0",
    "trainer.max_epochs=2",
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of timm's with a head of ten classes."""
    folder = tmp_path_factory.mktemp("timm") / "tiny_vit"
    write_timm_folder(folder)
    return folder


@pytest.fixture(scope="module")
def trained(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("elastic")
    return run_here("train", *RECIPE, f"space.model={network}", folder=folder).succeeded()


def prepared_for(network: vitsearch.VisionTransformer) -> dict[str, float]:
    """The normalisation of grey images that a network expects."""
    return {name: network.pretrained_cfg[name][0] for name in ("mean", "std")}


def test_the_run_says_the_space_and_where_it_is_from(trained: Outcome, network: Path):
    config: Any = OmegaConf.to_container(OmegaConf.load(trained.run / "config.yaml"))
    space = vitsearch.from_timm(network).space
    assert SearchSpace(config["space"]) == space
    assert space.name == "tiny_vit"
    assert "model" not in config["space"]
    assert config["origin"]["model"] == str(network)
    assert config["data"]["image_size"] == 28
    assert vitsearch.load_supernet(trained.run).space == space


def test_the_original_is_kept_as_it_was(trained: Outcome, network: Path):
    original = vitsearch.load_model(trained.run / "original")
    expected = vitsearch.from_timm(network, pretrained=True)
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(original(images), expected(images), atol=1e-4)
    assert original.architecture == expected.largest
    assert not torch.equal(  # its hidden channels are in another order, the most important first
        original.state_dict()["stages.0.blocks.0.mlp.fc1.weight"],
        expected.state_dict()["stages.0.blocks.0.mlp.fc1.weight"],
    )
    assert vitsearch.load_model(trained.run / "best").space == original.space


def test_what_the_search_takes_out_is_repaired(trained: Outcome):
    best = vitsearch.load_model(trained.run / "best")
    net = vitsearch.load_supernet(trained.run)
    own = prepared_for(best)
    data = vitsearch.data.FashionMini(search_per_class=5, eval_batch_size=100, **own)
    calibration = net.calibrate(images for images, _ in data.sample_dataloader(1000))
    expected = net.extract(best.architecture, calibration=calibration).state_dict()
    plain = net.extract(best.architecture).state_dict()
    for name, tensor in best.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
    if best.architecture != net.largest:
        assert any(not torch.equal(plain[name], expected[name]) for name in plain)


@pytest.mark.slow
def test_every_command_goes_on_from_it(trained: Outcome, tmp_path: Path):
    run = f"checkpoint={trained.run}"
    searched = run_here("search", run, *TINY_SEARCH, folder=tmp_path / "search").succeeded()
    config = OmegaConf.load(searched.run / "config.yaml")
    assert config.repair is True  # as the run that trained it
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "trainer.accelerator=cpu")
    alone = run_here(
        "retrain",
        f"architecture={searched.run}",
        "init=inherited",
        "objective=feature_distillation",
        f"objective.feature_distillation.teacher.name={trained.run}/original",
        "trainer.devices=1",
        *few,
        folder=tmp_path / "alone",
    ).succeeded()
    assert "feature distillation" in alone.out
    model = f"model={alone.run}"
    run_here("evaluate", model, "speed=false", folder=tmp_path / "evaluated").succeeded()
    run_here("export", model, folder=tmp_path / "exported").succeeded()


@pytest.mark.slow
def test_a_killed_run_ends_the_same_without_the_network(network: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere" / network.name
    shutil.copytree(network, moved)
    command = (*RECIPE, f"space.model={moved}", "callbacks.checkpoint.every_n_steps=1")
    assert end(start("train", *command, "run_dir=straight", folder=tmp_path)) == 0
    run = tmp_path / "killed"
    process = start("train", *command, "run_dir=killed", folder=tmp_path)
    ready = run / "original" / "model.safetensors"
    assert kill_when(process, ready.is_file, signal.SIGKILL) == -signal.SIGKILL
    shutil.rmtree(moved)
    saved = run / "supernet.ckpt"
    for moment in (saved.is_file, (run / "search" / "history.jsonl").is_file):
        process = start("train", "resume=killed", folder=tmp_path)
        assert kill_when(process, moment, signal.SIGKILL) in (-signal.SIGKILL, 0)
    assert end(start("train", "resume=killed", folder=tmp_path)) == 0
    assert results(run) == results(tmp_path / "straight")
    assert weights(run) == weights(tmp_path / "straight")


@pytest.mark.slow
def test_two_processes_begin_with_the_same_network(trained: Outcome, network: Path, tmp_path: Path):
    two = run_module(
        "vitsearch.train",
        *RECIPE,
        f"space.model={network}",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "callbacks.search=null",
        folder=tmp_path / "two",
    ).succeeded()
    one, both = (vitsearch.load_model(run / "original") for run in (trained.run, two.run))
    for name, tensor in both.state_dict().items():
        assert torch.equal(tensor, one.state_dict()[name]), name


def test_a_network_without_a_head_gets_one_that_fits(tmp_path: Path):
    write_timm_folder(tmp_path / "bare", 0)
    done = run_here(
        "train",
        *RECIPE,
        f"space.model={tmp_path / 'bare'}",
        "callbacks.search=null",
        folder=tmp_path / "run",
    ).succeeded()
    original = vitsearch.load_model(done.run / "original")
    assert original.state_dict()["head.weight"].shape == (10, 24)
    data = vitsearch.data.FashionMini(search_per_class=5, **prepared_for(original))
    images, labels = next(iter(data.sample_dataloader(200)))
    with torch.no_grad():
        said = original(images).argmax(1)
    assert (said == labels).float().mean() > 0.4  # of ten classes, from random features


def test_importance_is_a_setting_of_the_run(trained: Outcome, network: Path, tmp_path: Path):
    """Another order of units is another run; the function of the largest network is the same."""
    command = (*RECIPE, f"space.model={network}", "callbacks.search=null")
    done = run_here("train", *command, "space.importance=taylor", folder=tmp_path).succeeded()
    assert OmegaConf.load(done.run / "config.yaml").origin.importance == "taylor"
    by_taylor, by_variance = (vitsearch.load_model(r / "original") for r in (done.run, trained.run))
    name = "stages.0.blocks.0.mlp.fc1.weight"
    assert not torch.equal(by_taylor.state_dict()[name], by_variance.state_dict()[name])
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(by_taylor(images), by_variance(images), rtol=1e-3, atol=1e-4)
    again = run_here("train", *command, f"run_dir={done.run}", folder=tmp_path)
    assert again.code == 2
    assert "origin.importance was taylor, not variance" in again.err


def test_description_needs_no_data(network: Path, tmp_path: Path):
    said = run_here("describe", "+space=timm", f"space.model={network}", folder=tmp_path)
    assert "tiny_vit" in said.succeeded().out
    shared = run_here(
        "describe",
        "+space=timm",
        f"space.model={network}",
        "space.options.num_heads=[1.0]",
        "space.image_size=56",
        folder=tmp_path,
    ).succeeded()
    assert "56 x 56" in shared.out


ERRORS = {
    "no model": ((), ["space.model is missing", "hf-hub:"]),
    "unknown model": (("space.model=vit_smal_patch16_224",), ["did you mean", "vit_small_patch16"]),
    "unknown setting": (("space.model={net}", "+space.heads=2"), ["space.heads is unknown"]),
    "other channels": (
        ("space.model={net}", "data.in_chans=3"),
        ["data.in_chans=3", "space.in_chans=3", "data.in_chans=1"],
    ),
    "other size": (
        ("space.model={net}", "data.image_size=56"),
        ["data.image_size=56", "space.image_size=56", "data.image_size=28"],
    ),
    "no weights": (("space.model={net}", "space.weights=nowhere.pth"), ["nowhere.pth", "no file"]),
    "no such block": (
        ("space.model={net}", "objective.feature_distillation.layers=[-4]"),
        ["objective.feature_distillation", "-4", "3 blocks"],
    ),
    "importance": (
        ("space.model={net}", "space.importance=beauty"),
        ["space.importance=beauty", "variance", "taylor"],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_mistakes_are_one_line_and_leave_nothing(name: str, network: Path, tmp_path: Path):
    overrides, words = ERRORS[name]
    written = [override.replace("{net}", str(network)) for override in overrides]
    outcome = run_here("train", *RECIPE, *written, folder=tmp_path / "run")
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    for word in words:
        assert word in outcome.err
    assert not list((tmp_path / "run").rglob("*.yaml"))


def test_a_teacher_of_another_width(network: Path, tmp_path: Path):
    """It is learnt through a projection, which a run that goes on finds, and networks lack."""
    write_timm_folder(tmp_path / "wide", embed_dim=36)
    teacher = vitsearch.from_timm(tmp_path / "wide", pretrained=True)
    vitsearch.save_model(teacher.extract(teacher.largest), tmp_path / "teacher")
    command = (
        *RECIPE,
        f"space.model={network}",
        f"objective.feature_distillation.teacher.name={tmp_path / 'teacher'}",
        "callbacks.checkpoint.every_n_steps=1",
    )
    straight = run_here("train", *command, folder=tmp_path / "straight").succeeded()
    state = torch.load(straight.run / "supernet.ckpt", weights_only=True)["state_dict"]
    shapes = [tuple(t.shape) for n, t in state.items() if n.startswith("learned.")]
    assert shapes == [(36, 24), (36,)] * 2
    best = vitsearch.load_model(straight.run / "best")
    assert not [name for name in best.state_dict() if name.startswith("learned.")]
    process = start("train", *command, "run_dir=killed", folder=tmp_path)
    saved = tmp_path / "killed" / "supernet.ckpt"
    assert kill_when(process, saved.is_file, signal.SIGKILL) in (-signal.SIGKILL, 0)
    assert end(start("train", "resume=killed", folder=tmp_path)) == 0
    assert weights(tmp_path / "killed") == weights(straight.run)


def test_without_a_network_nobody_teaches(tmp_path: Path):
    outcome = run_here(
        "train", "+space=glit", "objective=feature_distillation", *TINY, folder=tmp_path / "run"
    )
    assert outcome.code == 2
    assert "teacher.name is missing" in outcome.err


def test_in_python_it_is_from_timm():
    with pytest.raises(SpaceError, match=r"vitsearch\.from_timm"):
        build_space("timm", model="vit_tiny_patch16_224")


def test_normalisation_is_the_networks(tmp_path: Path, colour_folders: Any):
    write_timm_folder(
        tmp_path / "net", 3, in_chans=3, preprocessing={"mean": [0.1, 0.2, 0.3], "std": [0.5] * 3}
    )
    done = run_here(
        "train",
        *RECIPE,
        f"space.model={tmp_path / 'net'}",
        "data=image_folder",
        f"data.root={colour_folders('images')}",
        "data.batch_size=15",
        "data.num_workers=0",
        "callbacks.search=null",
        folder=tmp_path / "run",
    ).succeeded()
    original = vitsearch.load_model(done.run / "original")
    assert list(original.pretrained_cfg["mean"]) == [0.1, 0.2, 0.3]
    assert OmegaConf.load(done.run / "config.yaml").data.std == [0.5] * 3
