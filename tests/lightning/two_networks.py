"""Trains one network in two processes, writes gradients and scores; run by the DDP test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytorch_lightning as pl

from tests.lightning.two_processes import KeepGradients, make_data
from vitsearch.lightning import Classifier, SaveNetwork
from vitsearch.spaces import build_space
from vitsearch.supernet import VisionTransformer

STEPS = 3
__all__ = ["STEPS", "make_data", "make_module"]


def make_module() -> Classifier:
    pl.seed_everything(0)
    space = build_space("glit", num_blocks=2, embed_dims=[24]).restrict({"*.global_heads": 3})
    network = VisionTransformer(space, space.smallest(), 10, patch_head=True)  # it will rest
    module = Classifier(network, optimizer={"opt": "sgd", "lr": 0.1, "momentum": 0.9}, scheduler={})
    return module.double()


def main(folder: Path) -> None:
    save = SaveNetwork()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="64-true",
        max_epochs=1,
        limit_train_batches=STEPS,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=str(folder),
        callbacks=[KeepGradients(folder), save],
    )
    trainer.fit(make_module(), datamodule=make_data())
    assert save.score is not None
    found = {"test": save.score.record(), "validation": float(trainer.callback_metrics["val/top1"])}
    (folder / f"{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
