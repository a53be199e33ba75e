"""Trains three steps in two processes and writes every step's gradients; run by the DDP test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from vitsearch.data import FashionMini
from vitsearch.lightning import MultiArchitectureSampling, SearchableClassifier
from vitsearch.samplers import UniformSampler
from vitsearch.spaces import build_space

STEPS = 3
SAMPLER = UniformSampler(seed=3)
# How many architectures share a step, and what they learn from.
KINDS: dict[str, tuple[int, dict[str, Any] | None]] = {
    "labels": (1, None),
    "distilled": (2, {"cross_entropy": {}, "in_place_distillation": {"weight": 0.5}}),
}


class KeepGradients(pl.Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Any) -> None:
        gradients = {n: p.grad for n, p in module.net.named_parameters() if p.grad is not None}
        torch.save(gradients, self.folder / f"{trainer.global_rank}_{trainer.global_step}.pt")


def make_module(kind: str = "labels") -> SearchableClassifier:
    pl.seed_everything(0)
    space = build_space("glit", num_blocks=2, embed_dims=[24])
    space = space.restrict({"*.global_heads": [0, 3]})  # all global or all local: weights rest
    module = SearchableClassifier(
        space,
        10,
        optimizer={"opt": "sgd", "lr": 0.1, "momentum": 0.9},
        scheduler={},
        objective=KINDS[kind][1],
    )
    return module.double()


def make_data() -> FashionMini:
    return FashionMini(batch_size=8, search_per_class=10, seed=1)


def main(folder: Path, kind: str) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="64-true",
        max_steps=STEPS,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=str(folder),
        callbacks=[MultiArchitectureSampling(KINDS[kind][0], SAMPLER), KeepGradients(folder)],
    )
    trainer.fit(make_module(kind), datamodule=make_data())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
