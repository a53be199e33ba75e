"""`vitsearch.retrain` from what a search left to a tested network in a folder of its own."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import vitsearch
from tests.commands.running import (
    Outcome,
    files_below,
    read_history,
    run_here,
    run_module,
    small_space,
)
from tests.commands.test_command_train import columns
from vitsearch.data import FashionMini

FEW = (
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=3",
)
EVERY_RETRAINING = {
    "config.yaml",
    "metrics.csv",
    "network.ckpt",
    "model/architecture.json",
    "model/model.safetensors",
    "result.json",
    "finished.json",
}


def retrain(run: Path | str, *overrides: str, folder: Path) -> Outcome:
    return run_here("retrain", f"architecture={run}", *FEW, *overrides, folder=folder)


def result_of(outcome: Outcome, run: Path | None = None) -> dict[str, Any]:
    found = json.loads(((run or outcome.succeeded().run) / "result.json").read_text())
    assert isinstance(found, dict)
    return found


def fashion_test() -> tuple[torch.Tensor, torch.Tensor]:
    data = FashionMini()
    data.setup()
    batches = list(data.test_dataloader())
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


@pytest.fixture(scope="module")
def retrained(trained: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("retrained")
    return retrain(trained.run, folder=folder).succeeded()


def test_a_retraining_leaves_a_folder_that_says_all_of_it(
    retrained: Outcome, trained: Outcome
) -> None:
    left = files_below(retrained.run)
    assert left >= EVERY_RETRAINING
    assert not [name for name in left if ".tmp" in name or "/." in name]
    assert retrained.err == ""
    config = OmegaConf.load(retrained.run / "config.yaml")
    best = json.loads((trained.run / "search" / "best.json").read_text())
    assert config.architecture == str(trained.run)
    assert config.digest == best["digest"]
    assert config.data.batch_size == 16  # the run's
    assert config.data.train_on == "all"
    result = result_of(retrained)
    assert result["digest"] == best["digest"]
    assert (result["macs"], result["params"]) == (best["macs"], best["params"])
    assert (result["init"], result["epochs"], result["steps"]) == ("scratch", 1, 3)
    assert result["training_seconds"] > 0
    assert set(result["versions"]) == {"vitsearch", "torch", "pytorch-lightning"}
    assert columns(retrained.run)["test/top1"] == [result["test"]["top1"]]


def test_its_accuracy_is_that_of_the_network_in_the_folder(
    retrained: Outcome, trained: Outcome
) -> None:
    network = vitsearch.load_model(retrained.run)
    assert network.class_names == FashionMini.class_names
    images, labels = fashion_test()
    result = result_of(retrained)
    for found, net in (
        (result["test"], network),
        (result["compared"]["inherited"], vitsearch.load_model(trained.run / "best")),
    ):
        with torch.inference_mode():
            best = net(images).topk(5, dim=1).indices
        hits = best == labels[:, None]
        assert found["total"] == len(labels) == 2000
        assert found["correct_top1"] == int(hits[:, :1].sum())
        assert found["correct_top5"] == int(hits.sum())
        assert found["top1"] == found["correct_top1"] / 2000


def test_what_it_prints(retrained: Outcome, trained: Outcome) -> None:
    shown = retrained.run.relative_to(retrained.folder)
    for words in (
        f"best of {trained.run}",
        "weights       fresh",
        "6000 images, all but the test split: the search is over",
        "1 epoch, batches of 16, adamw 0.003, cosine; learns from cross entropy",
        "accuracy on the test split (2000 images)",
        "inherited",
        "retrained",
        "block 2:",
        f"python -m vitsearch.evaluate model={shown}",
        f"python -m vitsearch.export model={shown} format=onnx",
    ):
        assert words in retrained.out, (words, retrained.out)


def test_a_search_names_it_as_the_next_step(trained: Outcome, tmp_path: Path) -> None:
    found = re.search(r"train it alone: +(python.*)", trained.out)
    assert found is not None
    run = trained.run.relative_to(trained.folder)
    assert shlex.split(found[1])[2:] == ["vitsearch.retrain", f"architecture={run}"]


def test_inherited_weights_with_every_piece_of_a_recipe(trained: Outcome, tmp_path: Path) -> None:
    """A candidate of the history; EMA, mixing, layer decay, drop path; validation."""
    best = json.loads((trained.run / "search" / "best.json").read_text())["digest"]
    digest = next(r["digest"] for r in read_history(trained.run) if r["digest"] != best)
    outcome = run_here(
        "retrain",
        f"architecture={digest[:8]}",
        f"run={trained.run}",
        *FEW,
        "init=inherited",
        "train_on=train",
        "callbacks=network_with_ema",
        "optimizer.layer_decay=0.75",
        "optimizer.opt=lamb",
        "model.mixup=0.2",
        "model.cutmix=1.0",
        "model.label_smoothing=0.1",
        "model.drop_path_rate=0.1",
        "trainer.check_val_every_n_epoch=1",
        "+data.erase_prob=0.25",
        "seed=3",
        folder=tmp_path,
    ).succeeded()
    result = result_of(outcome)
    assert result["digest"] == digest
    assert set(result["validation"]) == {"val/top1", "val/top5"}
    assert set(result["compared"]) == {"inherited"}
    assert "5950 images; 50 of the search split validate" in outcome.out
    assert "inherited from" in outcome.out
    assert "layer decay 0.75" in outcome.out
    assert re.search(r"epoch 1/1: loss [0-9.]+, top1 [0-9.]+ %, top5 [0-9.]+ %", outcome.out)
    config = OmegaConf.load(outcome.run / "config.yaml")
    assert (config.data.erase_prob, config.data.seed, config.seed) == (0.25, 0, 3)


@pytest.mark.parametrize("zero", [True, False])
def test_blocks_begin_as_the_identity(zero: bool, trained: Outcome, tmp_path: Path) -> None:
    """Where nothing is learnt, the last layers of a block are as they began."""
    still = ("optimizer=sgd", "optimizer.lr=0.0", "scheduler=constant")
    chosen = f"model.zero_init_residual={str(zero).lower()}"
    outcome = retrain(trained.run, *still, chosen, folder=tmp_path)
    weights = vitsearch.load_model(outcome.run).state_dict()
    last = [w for name, w in weights.items() if name.endswith(("proj.weight", "fc2.weight"))]
    blocks = [w for w in last if w.dim() == 2]
    assert blocks
    assert all(w.any().item() != zero for w in blocks)


def test_nothing_to_learn_ends_with_the_inherited_network(trained: Outcome, tmp_path: Path) -> None:
    """The weights that a training begins with are the supernet's, statistics included."""
    outcome = retrain(
        trained.run,
        "init=inherited",
        "optimizer=sgd",
        "optimizer.lr=0.0",
        "optimizer.weight_decay=0.0",
        "scheduler=constant",
        folder=tmp_path,
    )
    result = result_of(outcome)
    assert result["test"] == result["compared"]["inherited"]
    given, net = vitsearch.load_model(trained.run / "best"), vitsearch.load_model(outcome.run)
    for (name, one), other in zip(
        given.state_dict().items(), net.state_dict().values(), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-6), name


def test_other_images_and_classes(
    retrained: Outcome, colour_folders: Callable[..., Path], tmp_path: Path
) -> None:
    """A retrained network goes on to three classes of colour images of 56 px."""
    root = colour_folders("images")
    outcome = retrain(
        retrained.run,
        "init=inherited",
        "data=image_folder",
        f"data.root={root}",
        "data.image_size=56",
        "data.num_workers=0",
        "data.batch_size=8",
        "data.statistics_images=16",
        "data.auto_augment=rand-m9-mstd0.5-inc1",
        folder=tmp_path / "work",
    ).succeeded()
    for note in (
        "position embeddings are resampled for 56 px",
        "the first convolution is adapted from 1 to 3 channel(s)",
        "the classifier is fresh: 3 classes, not 10",
    ):
        assert f"note: {note}" in outcome.out
    network = vitsearch.load_model(outcome.run)
    assert network(torch.zeros(1, 3, 56, 56)).shape == (1, 3)
    assert network.class_names == ("ant", "bee", "cat")
    result = result_of(outcome)
    assert result["compared"] == {}
    assert list(result["test"]) == ["top1", "correct_top1", "total"]
    given = vitsearch.load_model(retrained.run)
    assert network.architecture == given.architecture
    assert network.space.image_size == 56


def test_a_published_architecture_with_a_teacher_on_a_token(
    retrained: Outcome, tmp_path: Path
) -> None:
    outcome = run_here(
        "retrain",
        "architecture=autoformer_tiny",
        *FEW,
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "data=fashion_mini",
        "data.image_size=32",
        "data.batch_size=2",
        "data.statistics_images=4",
        "objective=teacher_distillation",
        f"objective.teacher_distillation.teacher.name={retrained.run}/model",
        "distillation_token=true",
        "callbacks.save.use_test_split=false",
        folder=tmp_path,
    ).succeeded()
    network = vitsearch.load_model(outcome.run)
    assert network.num_prefix_tokens == 2
    assert network.cost().params > 5_000_000
    assert result_of(outcome)["test"] is None
    assert set(columns(outcome.run)) >= {"train/teacher_distillation", "train/cross_entropy"}


def test_patches_learn_where_the_objective_wants_it(trained: Outcome, tmp_path: Path) -> None:
    outcome = retrain(
        trained.run, "objective=patch_token_mixup", "model.cutmix=1.0", folder=tmp_path
    )
    network = vitsearch.load_model(outcome.succeeded().run)
    assert network.head_patch is None
    assert "train/patch_token_mixup" in columns(outcome.run)
    checkpoint = torch.load(outcome.run / "network.ckpt", weights_only=True)
    assert "net.head_patch.weight" in checkpoint["state_dict"]


def test_a_finished_run_says_so_and_another_one_is_refused(
    retrained: Outcome, trained: Outcome
) -> None:
    given = f"run_dir={retrained.run}"
    before = (retrained.run / "result.json").read_bytes()
    again = retrain(trained.run, given, folder=retrained.folder).succeeded()
    line = f"this run is finished, nothing is left to do: the network is in {retrained.run}/model"
    assert again.out == f"vitsearch: {line}\n"
    resumed = run_here("retrain", f"resume={retrained.run}", folder=retrained.folder).succeeded()
    assert "this run is finished" in resumed.out
    for override, words in (
        ("init=inherited", "init was scratch, not inherited"),
        ("seed=1", "seed was 0, not 1"),
        ("model.mixup=0.1", "model.mixup was 0.0, not 0.1"),
    ):
        other = retrain(trained.run, given, override, folder=retrained.folder)
        assert (other.code, len(other.err.splitlines())) == (2, 1), other.err
        assert words in other.err
    train = run_here("train", "+space=glit", given, folder=retrained.folder)
    assert f"run_dir={retrained.run} holds a run of vitsearch.retrain" in train.err
    here = retrain(trained.run, f"run_dir={trained.run}", folder=retrained.folder)
    assert "holds a run of vitsearch.train; choose a fresh one" in here.err
    assert (retrained.run / "result.json").read_bytes() == before


def test_an_interrupted_run_goes_on_without_its_source(
    trained: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit-identical, although the run that the architecture came from is gone."""
    source = tmp_path / "source"
    shutil.copytree(trained.run, source)
    more = ("trainer.max_epochs=2", "callbacks.checkpoint.every_n_steps=1", "model.mixup=0.5")
    straight = retrain(source, *more, "run_dir=straight", folder=tmp_path).succeeded()
    stop = ("+callbacks.stop._target_=tests.commands.parts.Interrupt", "+callbacks.stop.step=4")
    broken = retrain(source, *more, "run_dir=broken", *stop, folder=tmp_path)
    assert broken.code == 130, broken.err
    assert "go on with: python -m vitsearch.retrain resume=broken" in broken.err
    assert not (tmp_path / "broken" / "result.json").exists()
    config = tmp_path / "broken" / "config.yaml"
    config.write_text(re.sub(r"  stop:\n(    .*\n)+", "", config.read_text()))
    shutil.rmtree(source)
    resumed = run_here("retrain", "resume=broken", folder=tmp_path).succeeded()
    assert "going on with the training of this folder" in resumed.out
    one, other = (vitsearch.load_model(tmp_path / name) for name in ("straight", "broken"))
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    results = [result_of(straight, tmp_path / name) for name in ("straight", "broken")]
    assert results[0]["test"] == results[1]["test"]
    assert results[1]["steps"] == 6


LINES = [
    ((), ("no architecture: add architecture=<",)),
    (("architecture=nonsense",), ("architecture=nonsense is unknown", "best.json")),
    (("architecture=glit_tiny",), ("lies in no run", "add data=<name>")),
    (("architecture={run}", "init=pretrained"), ("init=pretrained", "scratch, inherited")),
    (("architecture={run}", "train_on=test"), ("train_on=test", "train, all")),
    (("architecture={run}", "checkpoint=x.pth"), ("is for published architectures",)),
    (("architecture={run}", "digest=abc"), ("not digest=abc",)),
    (("architecture={run}", "+space=vitas"), ("is of another space", "leave +space out")),
    (("architecture={run}", "trainer.max_epochs=0"), ("trainer.max_epochs=0",)),
    (("architecture={run}", "optimizer.layer_decay=2"), ("optimizer.layer_decay=2", "(0, 1]")),
    (("architecture={run}", "model.drop_path_rate=1"), ("drop_path_rate=1",)),
    (("architecture={run}", "model._target_=torch.nn.Identity"), ("subclass of", "Classifier")),
    (("architecture={run}", "+data.image_size=30"), ("30", "patch")),
    (("architecture={run}", "+model.mix=1"), ("model:", "mix")),
    (("architecture={run}", "model.compile=1"), ("compile=1 must be true or false",)),
    (
        ("architecture={run}", "init=inherited", "distillation_token=true"),
        ("distillation_token=true needs init=scratch",),
    ),
    (
        ("architecture=glit_tiny", "init=inherited", "data=fashion_mini", "data.image_size=32"),
        ("init=inherited of glit_tiny needs checkpoint=",),
    ),
    (("architecture={run}", "init=inherited", "+data.in_chans=3", "run=gone"), ("run=gone",)),
    (("architecture={run}", "experiment=gone"), ("experiment=gone is unknown", "finetune")),
    (("architecture={run}", "epochs=3"), ("epochs=3",)),
]


@pytest.mark.parametrize(("overrides", "words"), LINES, ids=lambda value: " ".join(value)[:60])
def test_every_mistake_is_one_line(
    overrides: tuple[str, ...], words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    given = [override.replace("{run}", str(trained.run)) for override in overrides]
    outcome = run_here("retrain", *FEW, *given, folder=tmp_path)
    assert outcome.code == 2, outcome.out
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.err.startswith("vitsearch: ")
    for word in words:
        assert word in outcome.err, outcome.err
    assert not files_below(tmp_path)


def test_choices_in_a_file_with_a_space(tmp_path: Path) -> None:
    space = small_space()
    (tmp_path / "mine.json").write_text(space.smallest().to_json())
    outcome = run_here(
        "retrain",
        "architecture=mine.json",
        "+space=glit",
        "space.num_blocks=2",
        "space.embed_dims=[24]",
        "data=fashion_mini",
        "data.batch_size=16",
        *FEW,
        folder=tmp_path,
    ).succeeded()
    assert result_of(outcome)["digest"] == space.smallest().digest
    assert result_of(outcome)["compared"] == {}


@pytest.mark.slow
def test_a_compiled_training_ends_with_the_same_network(
    retrained: Outcome, trained: Outcome, tmp_path: Path
) -> None:
    outcome = retrain(trained.run, "model.compile=true", folder=tmp_path).succeeded()
    assert "compiled" in outcome.out
    own, other = (vitsearch.load_model(one.run) for one in (outcome, retrained))
    assert own.state_dict().keys() == other.state_dict().keys()
    images = fashion_test()[0][:200]
    with torch.inference_mode():
        torch.testing.assert_close(own(images), other(images), rtol=1e-2, atol=1e-2)


def test_without_a_compiler_nothing_begins(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_module(
        "vitsearch.retrain",
        f"architecture={trained.run}",
        *FEW,
        "model.compile=true",
        folder=tmp_path,
        CXX=str(tmp_path / "none"),
    )
    assert outcome.code == 2, outcome.out
    line = outcome.err.splitlines()[-1]  # torch may log before it
    assert line.startswith("vitsearch: compile=true: torch.compile does not work here"), outcome.err
    assert not files_below(tmp_path)


@pytest.mark.slow
def test_the_command_itself_in_two_processes(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_module(
        "vitsearch.retrain",
        f"architecture={trained.run}",
        *FEW,
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "train_on=train",
        "trainer.check_val_every_n_epoch=1",
        folder=tmp_path,
    ).succeeded()
    result = result_of(outcome)
    assert (result["processes"], result["test"]["total"]) == (2, 2000)
    images, labels = fashion_test()
    with torch.inference_mode():
        found = int((vitsearch.load_model(outcome.run)(images).argmax(1) == labels).sum())
    assert result["test"]["correct_top1"] == found
    data = FashionMini(search_per_class=5)
    assert round(result["validation"]["val/top1"] * len(data.split_indices("search")), 4) % 1 == 0
