"""The library in a Trainer of your own: no Hydra, no configuration files.

python examples/plain_trainer.py            # minutes on two CPU cores
python examples/plain_trainer.py --quick    # seconds: shows that it runs, and learns little
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch

import vitsearch
from vitsearch.costs import reachable_range
from vitsearch.data import FashionMini
from vitsearch.lightning import (
    EvolutionarySearch,
    MultiArchitectureSampling,
    SearchableClassifier,
)
from vitsearch.samplers import SandwichSampler


def main(folder: Path, *, quick: bool = False) -> None:
    pl.seed_everything(0)

    # What can be chosen: the demo space, with local modules on the grid of patches.
    space = vitsearch.build_space("glit", num_blocks=2 if quick else 6, **{"mixer.local": "grid"})
    smallest, largest = reachable_range(space, "macs", num_classes=10)
    print(f"{space.size():,} architectures from {smallest:,} to {largest:,} MACs")

    # Train all of them at once: every batch is shared by four architectures.
    data = FashionMini(batch_size=64, search_per_class=10 if quick else 100, statistics_images=256)
    module = SearchableClassifier(
        space,
        num_classes=data.num_classes,
        optimizer={"opt": "adamw", "lr": 2e-3, "weight_decay": 0.05},
    )
    # Then search, inside the middle of what the space reaches.
    budget = ((3 * smallest + largest) / 4, (smallest + largest) / 2)
    search = EvolutionarySearch(
        {"macs": budget},
        {"population": 5, "generations": 2, "mutations": 2, "crossovers": 2}
        if quick
        else {"population": 50, "generations": 5, "mutations": 10, "crossovers": 10},
    )
    trainer = pl.Trainer(
        max_epochs=1 if quick else 20,
        limit_train_batches=5 if quick else 1.0,
        gradient_clip_val=1.0,
        callbacks=[MultiArchitectureSampling(4, SandwichSampler()), search],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data)

    # The best network, taken out: a plain nn.Module, with files that describe themselves.
    network = vitsearch.load_model(folder / "best")
    cost = network.cost()
    print(f"taken out: {cost.macs:,} MACs, {cost.params:,} parameters")
    images, labels = next(iter(data.test_dataloader()))
    with torch.inference_mode():
        predicted = network(images).argmax(dim=1)
    for guess, label in zip(predicted[:5].tolist(), labels[:5].tolist(), strict=True):
        print(f"{data.class_names[label]:>12} is classified as {data.class_names[guess]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("outputs/plain_trainer"))
    parser.add_argument("--quick", action="store_true", help="a few steps only")
    arguments = parser.parse_args()
    main(arguments.folder, quick=arguments.quick)
