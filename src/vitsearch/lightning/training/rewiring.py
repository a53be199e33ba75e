"""The callback that puts important heads and hidden units first while widths warm up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim import Optimizer

from vitsearch.elastic import Reordering, rewire
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.lightning.resuming.lightning_internals import averaged_model
from vitsearch.lightning.training.supernet_module import SearchableClassifier


class Rewiring(pl.Callback):
    """Reorders units by importance at the start of epochs, optimiser moments and averages alike.

    Source: Searching for Efficient Multi-Stage Vision Transformers (2021), section 3.3.
    """

    def __init__(self, epochs: int) -> None:
        """Set when.

        Args:
            epochs: At the start of each of the first epochs, the very first excepted; the same
                number as the width warm-up's.

        Raises:
            ConfigError: The number is below 1.
        """
        self.epochs = check_whole("callbacks.rewiring.epochs", epochs, 1)
        self._last_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """The last epoch that began with reordering."""
        return {"last_epoch": self._last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._last_epoch = int(state_dict["last_epoch"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the order of units means anything.

        Raises:
            ConfigError: The module is no `SearchableClassifier`, or does not share first units.
        """
        if not isinstance(pl_module, SearchableClassifier):
            raise ConfigError(
                f"Rewiring needs a SearchableClassifier, not {type(pl_module).__name__}"
            )
        if pl_module.net.sharing != "prefix":
            raise ConfigError(
                f"callbacks.rewiring: model.sharing={pl_module.net.sharing} does not take the "
                f"first units; use model.sharing=prefix"
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reorder if it is time; not again in a run resumed inside an epoch."""
        if not self._last_epoch < trainer.current_epoch < self.epochs:
            return
        self._last_epoch = trainer.current_epoch
        assert isinstance(pl_module, SearchableClassifier)
        network = pl_module.net
        reorderings = rewire(network)
        for optimizer in trainer.optimizers:
            reorder_moments(optimizer, network, reorderings)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):
                reorder_averages(callback, reorderings)


@torch.no_grad()
def reorder_moments(
    optimizer: Optimizer, network: nn.Module, reorderings: Iterable[Reordering]
) -> None:
    """Move everything that an optimiser keeps for each weight along with the weights.

    Raises:
        ConfigError: It keeps moments for rows and columns, which have no place to move to.
    """
    parameters = dict(network.named_parameters())
    kinds = set()
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor) or value.numel() == 1:
                continue
            if value.shape != parameter.shape:
                raise ConfigError(
                    f"callbacks.rewiring: {type(optimizer).__name__} keeps {key} "
                    f"{tuple(value.shape)} for {name} {tuple(parameter.shape)}; use an optimiser "
                    f"with one moment for each weight, such as optimizer.opt=adamw"
                )
            kinds.add(key)
    for kind in sorted(kinds):
        moments = {
            name: optimizer.state[parameter][kind]
            for name, parameter in parameters.items()
            if kind in optimizer.state.get(parameter, {})
        }
        for reordering in reorderings:
            reordering.apply(moments)


@torch.no_grad()
def reorder_averages(callback: WeightAveraging, reorderings: Iterable[Reordering]) -> None:
    """Move averaged weights along with the weights."""
    averaged = averaged_model(callback)
    if averaged is None:
        return
    module = averaged.module
    assert isinstance(module, SearchableClassifier)
    tensors = {name: tensor.data for name, tensor in module.net.state_dict().items()}
    for reordering in reorderings:
        reordering.apply(tensors)
