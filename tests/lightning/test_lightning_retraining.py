"""Training one network: to the same end from any checkpoint; then it is tested and saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging

import vitsearch
from tests.lightning.conftest import quiet_trainer
from tests.lightning.test_lightning_ddp import SCRIPT, rank_order
from tests.lightning.two_processes import STEPS, make_classifier, make_data
from vitsearch.data import FashionMini
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.lightning import Classifier, NetworkCheckpoint, SaveNetwork, SearchableClassifier
from vitsearch.spaces import Architecture, SearchSpace, build_space
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.checkpoint import read_network_entry

EVERYTHING_RANDOM: dict[str, Any] = {
    "mixup": 0.4,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "optimizer": {"opt": "adamw", "lr": 3e-3, "layer_decay": 0.8},
    "scheduler": {"sched": "cosine", "warmup_epochs": 1, "min_lr": 1e-5},
    "objective": {"cross_entropy": {}, "patch_token_mixup": {"weight": 0.5}},
}


class KeepAll(NetworkCheckpoint):
    """Keeps a copy of every checkpoint that it writes."""

    copies: list[Path]

    def _write(self, trainer: pl.Trainer, **settings: Any) -> None:
        super()._write(trainer, **settings)
        copy = self.path(trainer).with_name(f"{len(self.copies)}.copy")
        shutil.copy(self.path(trainer), copy)
        self.copies.append(copy)


def fit(
    folder: Path, space: SearchSpace, *, resume: Path | None = None
) -> tuple[Classifier, KeepAll, SaveNetwork]:
    pl.seed_everything(5)
    data = FashionMini(batch_size=8, statistics_images=20, train_on="all")
    network = VisionTransformer(space, space.largest(), 10, drop_path_rate=0.3, patch_head=True)
    keep, save = KeepAll(every_n_steps=1), SaveNetwork(use_test_split=False)
    keep.copies = []
    trainer = quiet_trainer(
        folder, callbacks=[keep, save, EMAWeightAveraging(decay=0.7)], max_epochs=2
    )
    module = Classifier(network, **EVERYTHING_RANDOM)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module, keep, save


def test_every_checkpoint_leads_to_the_same_network(space: SearchSpace, tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    _, keep, save = fit(straight, space)
    assert len(keep.copies) == 6
    expected = (straight / "model" / "model.safetensors").read_bytes()
    for number, copy in enumerate(keep.copies):
        _, _, again = fit(tmp_path / str(number), space, resume=copy)
        own = tmp_path / str(number) / "model" / "model.safetensors"
        assert own.read_bytes() == expected, number
        assert again.seconds >= 0
    entry = read_network_entry(keep.copies[0])
    assert Architecture.from_dict(entry["architecture"]) == space.largest()
    with pytest.raises(CheckpointError, match="is no supernet of vitsearch"):
        vitsearch.load_supernet(keep.copies[0])
    assert save.seconds > 0


def test_saving_works_in_a_trainer_of_one_s_own(
    space: SearchSpace, data: FashionMini, tmp_path: Path
) -> None:
    network = VisionTransformer(space, space.smallest(), 10)
    save = SaveNetwork(dirpath=tmp_path / "mine")
    save.facts = {"why": "because"}
    trainer = quiet_trainer(tmp_path, callbacks=[save])
    trainer.fit(Classifier(network), datamodule=data)
    assert save.score is not None
    result = json.loads((tmp_path / "mine" / "result.json").read_text())
    assert result["test"] == save.score.record()
    assert (result["why"], result["steps"]) == ("because", 3)
    found = vitsearch.load_model(tmp_path / "mine")
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(found(images), network.eval()(images))
    assert found.pretrained_cfg["mean"] == data.mean
    with pytest.raises(ConfigError, match="needs a Classifier, not SearchableClassifier"):
        quiet_trainer(tmp_path, callbacks=[save]).fit(SearchableClassifier(space, 10), data)


def test_one_network_cannot_do_what_a_supernet_does(space: SearchSpace) -> None:
    network = VisionTransformer(space, space.smallest(), 10)
    for objective, words in (
        ({"in_place_distillation": {}}, "one network alone has no larger one"),
        ({"cross_entropy": {"largest_only": True}}, "largest_only=true is for supernets"),
        ({"patch_token_mixup": {}}, "patch_head=True"),
    ):
        with pytest.raises(ConfigError, match=words):
            Classifier(network, objective=objective)


@pytest.mark.parametrize("scheduler", [{}, {"sched": "cosine", "min_lr": 1e-5}])
def test_earlier_layers_learn_more_slowly(
    scheduler: dict[str, Any], data: FashionMini, tmp_path: Path
) -> None:
    """With and without a schedule: timm's schedules apply the scale, nothing else does."""
    space = build_space("glit", num_blocks=3, embed_dims=[24])
    module = Classifier(
        VisionTransformer(space, space.smallest(), 10),
        optimizer={"opt": "sgd", "lr": 0.1, "momentum": 0.9, "layer_decay": 0.5},
        scheduler=scheduler,
    )
    trainer = quiet_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(module, datamodule=data)
    names = {p: name for name, p in module.net.named_parameters()}
    rates = {names[p]: g["lr"] for g in trainer.optimizers[0].param_groups for p in g["params"]}
    blocks = [rates[f"stages.0.blocks.{number}.norm1.weight"] for number in range(3)]
    assert blocks[0] < blocks[1] < blocks[2] <= rates["head.weight"]
    assert blocks[1] / blocks[2] == pytest.approx(0.5)
    assert rates["head.weight"] == max(rates.values())


@pytest.mark.slow
def test_two_processes_train_the_single_process_mean(tmp_path: Path) -> None:
    """Gradients and weights of each step; the second head of the network rests."""
    command = [sys.executable, str(SCRIPT), str(tmp_path), "network"]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    module, data = make_classifier().train(), make_data()
    data.setup("fit")
    order = [rank_order(data, rank) for rank in range(2)]
    optimizer = torch.optim.SGD(module.net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        for rank in range(2):
            images, labels = order[rank][step]
            loss, _ = module.objective(module.run_step(images.double(), labels))
            (loss / 2).backward()
        ranks = [torch.load(tmp_path / f"{rank}_{step}.pt") for rank in range(2)]
        for name, parameter in module.net.named_parameters():
            if parameter.grad is None:
                assert name.startswith("head_patch")
                continue
            assert torch.equal(ranks[0][name], ranks[1][name]), (step, name)
            assert (ranks[0][name] - parameter.grad).abs().max() < 1e-10, (step, name)
        optimizer.step()
    counts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert counts[0] == counts[1]  # validation and test, added up over both
    assert counts[0]["test"]["total"] == 2000
    correct = counts[0]["validation"] * len(data.split_indices("search"))
    assert correct == pytest.approx(round(correct), abs=1e-3)
