"""A callback: the mean MACs of the architectures that steps train, in metrics.csv."""

from statistics import mean
from typing import Any

import pytorch_lightning as pl


class LogMacs(pl.Callback):
    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Any) -> None:
        macs = mean(pl_module.net.cost(a).macs for a in pl_module.step_architectures)
        pl_module.log("train/macs", macs, on_step=False, on_epoch=True)
