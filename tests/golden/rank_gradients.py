"""Trains two steps of each space in two processes and writes what each step saw and found.

`torch.distributed.run` starts both processes, so that one start serves all spaces.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from torch.nn import functional

from tests.commands.running import REPOSITORY, run_program
from tests.golden.recipes import NUM_CLASSES, RECIPES, SPACES
from vitsearch.data import FashionMini
from vitsearch.lightning import MultiArchitectureSampling, SearchableClassifier
from vitsearch.samplers import UniformSampler

STEPS = 2
SAMPLER = UniformSampler(seed=3)
ARCHITECTURES = 2
SGD = {"opt": "sgd", "lr": 0.1, "momentum": 0.9}


class KeepSteps(pl.Callback):
    """Writes weights, images, labels and gradients of every step."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.batch: tuple[Tensor, Tensor] | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, *_: Any) -> None:
        self.batch = tuple(batch)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Any) -> None:
        gradients = {n: p.grad for n, p in module.net.named_parameters() if p.grad is not None}
        kept = {"weights": module.net.state_dict(), "batch": self.batch, "gradients": gradients}
        torch.save(kept, file_of(self.folder, self.name, trainer.global_rank, trainer.global_step))


def file_of(folder: Path, name: str, rank: int, step: int) -> Path:
    return folder / f"{name}_{rank}_{step}.pt"


def make_module(name: str) -> SearchableClassifier:
    pl.seed_everything(0, verbose=False)
    made = SearchableClassifier(RECIPES[name].space(), NUM_CLASSES, optimizer=SGD, scheduler={})
    return made.double()


def train(folder: Path, name: str) -> None:
    module = make_module(name)
    data = FashionMini(
        batch_size=8, search_per_class=10, seed=1, image_size=module.space.image_size
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="64-true",
        max_epochs=1,
        limit_train_batches=STEPS,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=str(folder),
        callbacks=[MultiArchitectureSampling(ARCHITECTURES, SAMPLER), KeepSteps(folder, name)],
    )
    trainer.fit(module, datamodule=data)


def run_two_processes(folder: Path) -> None:
    """Train every space; all that the functions below read is then in the folder."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    arguments = (sys.executable, *torchrun, "-m", "tests.golden.rank_gradients", folder)
    run_program(arguments, REPOSITORY)


def gradients_of(folder: Path, name: str, rank: int, step: int) -> dict[str, Tensor]:
    """What a process hands to its optimiser."""
    found: dict[str, Tensor] = torch.load(file_of(folder, name, rank, step))["gradients"]
    return found


def single_process_mean(folder: Path, name: str, step: int) -> dict[str, Tensor]:
    """The mean of both processes' gradients, by one process and without any Trainer."""
    module = make_module(name)
    net = module.net.train()
    for rank in range(2):
        kept = torch.load(file_of(folder, name, rank, step))
        net.load_state_dict(kept["weights"])
        images, labels = kept["batch"]
        architectures = SAMPLER.sample(
            module.space, num_architectures=ARCHITECTURES, step=step, rank=rank
        )
        (functional.cross_entropy(net(images.double(), architectures), labels) / 2).backward()
    return {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


def norms_of(gradients: dict[str, Tensor]) -> dict[str, float]:
    """What is recorded of them."""
    return {name: float(gradient.norm()) for name, gradient in gradients.items()}


if __name__ == "__main__":
    for recipe in SPACES:
        train(Path(sys.argv[1]), recipe)
    if distributed.is_initialized():
        distributed.destroy_process_group()
