"""Trains nothing, but searches, with loaders of one's own, in as many processes as it is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import distributed
from torch.utils.data import DataLoader, TensorDataset

from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.spaces import build_space

FEW = {"population": 4, "generations": 2, "parents": 2, "mutations": 1, "crossovers": 1}


def main(folder: Path, processes: int) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(50, 1, 28, 28, generator=rng)
    images[1::2] *= 5  # what one process of two would see of them, if the loaders were cut
    data = TensorDataset(images, torch.arange(50) % 3)
    pl.seed_everything(0)
    still = {"opt": "sgd", "lr": 0.0}
    module = SearchableClassifier(
        build_space("glit", num_blocks=1), 3, optimizer=still, scheduler={}
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=str(folder),
        callbacks=[EvolutionarySearch(None, FEW, report=False)],
    )
    trainer.fit(module, DataLoader(data, 10), DataLoader(data, 16))
    assert module.net.has_batch_norm


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    if distributed.is_initialized():
        distributed.destroy_process_group()  # Lightning does it for NCCL alone
