"""Trains and shrinks a supernet in one or in two processes; run by the DDP test.

The images of a step are the same: two processes see half of them each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import distributed

from tests.lightning.conftest import QUIET
from tests.lightning.shrinking_runs import small_space, window
from vitsearch.data import FashionMini
from vitsearch.lightning import ProgressiveShrinking, SearchableClassifier

WEIGHTS = "weights.pt"
SGD = {"opt": "sgd", "lr": 0.1, "momentum": 0.9}


def main(folder: Path, processes: int) -> None:
    pl.seed_everything(0)
    module = SearchableClassifier(
        small_space("autoformer"), 10, optimizer=SGD, scheduler={}
    ).double()
    budget = {"macs": window("autoformer")}
    shrinking = ProgressiveShrinking(budget, every_n_epochs=1 / 3, report=False)
    trainer = pl.Trainer(
        **{
            **QUIET,
            "devices": processes,
            "strategy": "ddp" if processes > 1 else "auto",
            "precision": "64-true",
            "max_epochs": 1,
            "limit_train_batches": 6,
            "limit_val_batches": 0,
            "default_root_dir": str(folder),
            "callbacks": [shrinking],
        }
    )
    data = FashionMini(batch_size=8 // processes, search_per_class=5, statistics_images=20)
    trainer.fit(module, datamodule=data)
    torch.save(module.state_dict(), folder / f"{trainer.global_rank}_{WEIGHTS}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), 2)
    distributed.destroy_process_group()
