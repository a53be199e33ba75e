"""Safetensors: a model folder of this library, `architecture.json` and `model.safetensors`."""

from __future__ import annotations

from pathlib import Path

from vitsearch.exporting.base import INPUT, Format, Job, Run
from vitsearch.supernet import load_model, save_model


class FolderFormat(Format):
    """What `vitsearch.save_model` writes; other programs can read the weights by name."""

    name = "safetensors"
    target = "model"

    def check(self, job: Job) -> None:
        """Everything needed is there."""

    def write(self, job: Job, folder: Path) -> Path:
        """The folder."""
        return save_model(job.network, folder / self.target)

    def load(self, path: Path) -> Run:
        """The network."""
        return load_model(path)

    def snippet(self, path: Path) -> str:
        """With this library."""
        return f"network = vitsearch.load_model({str(path)!r})\nlogits = network({INPUT})"
