"""Trains three steps in two processes and writes every step's gradients; run by the DDP tests.

A supernet, or, if the second argument is `network`, one network, which is then tested and saved.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed

from vitsearch.data import FashionMini, FashionScenes
from vitsearch.lightning import (
    Classifier,
    MultiArchitectureSampling,
    SaveNetwork,
    SearchableClassifier,
    SearchableSegmenter,
)
from vitsearch.samplers import UniformSampler
from vitsearch.spaces import build_space
from vitsearch.supernet import VisionTransformer

STEPS = 3
SGD = {"opt": "sgd", "lr": 0.1, "momentum": 0.9}
SAMPLER = UniformSampler(seed=3)
# How many architectures share a step, and what they learn from.
KINDS: dict[str, tuple[int, dict[str, Any] | None]] = {
    "labels": (1, None),
    "distilled": (2, {"cross_entropy": {}, "in_place_distillation": {"weight": 0.5}}),
    "masks": (2, {"cross_entropy": {}, "in_place_distillation": {"weight": 0.5}}),
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
    makes, classes = (SearchableSegmenter, 11) if kind == "masks" else (SearchableClassifier, 10)
    module = makes(
        space,
        classes,
        optimizer=SGD,
        scheduler={},
        objective=KINDS[kind][1],
    )
    return module.double()


def make_classifier() -> Classifier:
    """Of a network without BatchNorm; its classifier of patches rests."""
    pl.seed_everything(0)
    space = build_space("glit", num_blocks=2, embed_dims=[24]).restrict({"*.global_heads": 3})
    network = VisionTransformer(space, space.smallest(), 10, patch_head=True)
    return Classifier(network, optimizer=SGD, scheduler={}).double()


def make_data(kind: str = "labels") -> FashionMini | FashionScenes:
    if kind == "masks":
        return FashionScenes(batch_size=8, num_images=80, image_size=28, in_chans=1, seed=1)
    return FashionMini(batch_size=8, search_per_class=10, seed=1)


def main(folder: Path, kind: str) -> None:
    save = SaveNetwork()
    callback = save if kind == "network" else MultiArchitectureSampling(KINDS[kind][0], SAMPLER)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="64-true",
        max_epochs=1,
        limit_train_batches=STEPS,
        limit_val_batches=None if kind == "network" else 0,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=str(folder),
        callbacks=[callback, KeepGradients(folder)],
    )
    if kind != "network":
        trainer.fit(make_module(kind), datamodule=make_data(kind))
        return
    trainer.fit(make_classifier(), datamodule=make_data())
    assert save.score is not None
    found = {"test": save.score.record(), "validation": float(trainer.callback_metrics["val/top1"])}
    (folder / f"{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    distributed.destroy_process_group()  # Lightning does it for NCCL alone
