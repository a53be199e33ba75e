"""timm: a folder as timm's models have it on the Hub, for `timm.create_model('local-dir:...')`."""

from __future__ import annotations

from pathlib import Path

import timm
from timm.models import save_for_hf

from vitsearch.errors import ConfigError
from vitsearch.exporting.base import INPUT, Format, Job, Run


class TimmFormat(Format):
    """`config.json` names the architecture, which timm knows once this library is imported."""

    name = "timm"
    target = "timm"

    def check(self, job: Job) -> None:
        """Timm is there, and has such networks.

        Raises:
            ConfigError: The network answers for every pixel.
        """
        if job.network.space.head.dense:
            raise ConfigError(
                "format=timm is for classifiers of images, and this network answers for every "
                "pixel; legal for it: onnx, torch_export"
            )

    def write(self, job: Job, folder: Path) -> Path:
        """The folder: `config.json` and `model.safetensors`."""
        target = folder / self.target
        names = job.network.class_names
        config = {} if names is None else {"pretrained_cfg": {"label_names": list(names)}}
        save_for_hf(job.network, target, model_config=config, safe_serialization=True)
        return target

    def load(self, path: Path) -> Run:
        """As timm does."""
        network: Run = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
        return network

    def snippet(self, path: Path) -> str:
        """With timm, and this library imported."""
        return (
            f"import timm, vitsearch\n"
            f"network = timm.create_model({f'local-dir:{path}'!r}, pretrained=True).eval()\n"
            f"logits = network({INPUT})"
        )
