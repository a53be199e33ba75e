"""Trains architectures by themselves, one after another, with the recipe of a supernet's run."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from vitsearch.errors import NonFiniteLossError
from vitsearch.lightning.training.network_module import Classifier
from vitsearch.reports.words.training import length_in_words
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet import VisionTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        make_trainer: A `Trainer` from settings that take precedence over the run's.
        make_classifier: The module that trains a network.
        drop_path_rate: Stochastic depth.
        zero_init_residual: Whether every block begins as the identity, or `auto`.
        settings: All that the result depends on, as plain data.
    """

    make_trainer: Callable[..., pl.Trainer]
    make_classifier: Callable[[VisionTransformer], Classifier]
    drop_path_rate: float
    zero_init_residual: bool | str
    settings: Mapping[str, Any]

    @property
    def length(self) -> str:
        """How long a training is, in words."""
        trainer = self.settings["trainer"]
        return length_in_words(trainer.get("max_epochs"), trainer.get("max_steps"))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of the settings."""
        text = json.dumps(self.settings, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def train_alone(
    space: SearchSpace,
    architecture: Architecture,
    recipe: Recipe,
    datamodule: pl.LightningDataModule,
    *,
    num_classes: int,
    seed: int,
    accelerator: str = "cpu",
    devices: int | list[int] = 1,
) -> VisionTransformer:
    """A network from fresh weights, trained by this process alone; its result depends on `seed`.

    Args:
        space: Where the architecture is legal.
        architecture: What to train.
        recipe: How.
        datamodule: The run's data, set up. With seed 0 it gives the images in the run's own order;
            with others another order and other augmentation, but the same splits.
        num_classes: Of the classifier.
        seed: Of the weights, the order of the images and everything drawn in training.
        accelerator: Lightning's name of what to train on.
        devices: One device.

    Raises:
        NonFiniteLossError: The training has diverged.
    """
    pl.seed_everything(seed, workers=True, verbose=False)
    network = VisionTransformer(
        space, architecture, num_classes=num_classes, drop_path_rate=recipe.drop_path_rate
    )
    network.zero_init_residual(recipe.zero_init_residual)
    trainer = recipe.make_trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=1,
        strategy="auto",
        # Where several processes share the architectures, each trains its own as if it were alone.
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    try:
        trainer.fit(recipe.make_classifier(network), datamodule=with_order(datamodule, seed))
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"architecture {architecture.digest}: {error}") from error
    return network.float()  # as a supernet is read from its checkpoint, whatever the precision


def with_order(datamodule: pl.LightningDataModule, seed: int) -> pl.LightningDataModule:
    """The same splits, read in another order with other augmentation; as they are for seed 0."""
    datamodule.setup("fit")
    other = copy.copy(datamodule)
    if hasattr(other, "seed"):
        other.seed = other.seed + seed
    return other
