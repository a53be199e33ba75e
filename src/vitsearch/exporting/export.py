"""An export from network to file: write, read back, compare, and only then keep it."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from vitsearch.errors import ConfigError, ExportError
from vitsearch.errors.checks import check_one_of
from vitsearch.exporting.base import Exported, Format, Job
from vitsearch.exporting.checks import BATCH_SIZES, example_images, largest_difference
from vitsearch.exporting.description import export_facts
from vitsearch.exporting.folder_format import FolderFormat
from vitsearch.exporting.onnx_format import OnnxFormat
from vitsearch.exporting.timm_format import TimmFormat
from vitsearch.exporting.torch_format import TorchFormat
from vitsearch.runs.files import staged, write_json
from vitsearch.supernet import VisionTransformer

FORMATS: dict[str, Format] = {
    made.name: made for made in (OnnxFormat(), TorchFormat(), FolderFormat(), TimmFormat())
}


class FromPixels(nn.Module):
    """A network that takes pixels in [0, 1] and normalises them as it was trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor(network.pretrained_cfg[name])
            self.register_buffer(name, values[None, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Pixels (B, C, H, W) in [0, 1] to logits (B, classes)."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def export_model(
    network: VisionTransformer,
    folder: str | Path,
    *,
    format: str = "onnx",
    from_pixels: bool = False,
    opset: int | None = None,
) -> Exported:
    """Write a network in another format; the batch size stays free.

    The file is read back and run on random images before it takes its place; one that does not say
    what the network says is not kept. The network itself is left as it is.

    Args:
        network: What to export; in eval mode and float32, whatever it is now.
        folder: Where the file goes; beside it, `<file>.json` describes it.
        format: One of `FORMATS`.
        from_pixels: Make normalisation a part of the file, which then takes pixels in [0, 1].
        opset: Version of ONNX's operators; PyTorch's choice by default.

    Raises:
        ConfigError: A setting is not legal, or not with this format.
        MissingExtraError: The format needs packages that are not installed.
        ExportError: Weights are NaN or infinite, or the file differs from the network by more than
            `TOLERANCE`.
    """
    check_one_of("format", format, list(FORMATS))
    chosen = FORMATS[format]
    job = make_job(network, chosen, from_pixels=from_pixels, opset=opset)
    chosen.check(job)
    check_weights(job.network)
    batches = [example_images(job.network, size, pixels=from_pixels) for size in BATCH_SIZES]
    target = Path(folder) / chosen.target
    with staged(Path(folder)) as temporary:
        written = chosen.write(job, temporary)
        difference = largest_difference(
            job.module, chosen.load(written), batches, what=f"the file in {format} format"
        )
        if written.is_file():  # folders describe themselves
            facts = {"format": format, "file": chosen.target, "largest_difference": difference}
            write_json(temporary / f"{chosen.target}.json", facts | dict(job.facts))
    return Exported(
        path=target,
        megabytes=_num_bytes(target) / 1e6,
        difference=difference,
        batch_sizes=BATCH_SIZES,
        snippet=chosen.snippet(target),
    )


def check_weights(network: VisionTransformer) -> None:
    """Refuse a network whose file could not be compared with it.

    Raises:
        ExportError: Weights are NaN or infinite.
    """
    damaged = [name for name, own in network.state_dict().items() if not own.isfinite().all()]
    if damaged:
        raise ExportError(f"the network's weights are damaged: {damaged[0]} is NaN or infinite")


def make_job(
    network: VisionTransformer, chosen: Format, *, from_pixels: bool, opset: int | None
) -> Job:
    """A copy of the network, ready for a format.

    Raises:
        ConfigError: The format does not have a setting, or the network does not say how images were
            normalised.
    """
    if opset is not None and chosen.name != "onnx":
        raise ConfigError(f"opset={opset} is a setting of format=onnx, not of {chosen.name}")
    if from_pixels and not chosen.takes_pixels:
        raise ConfigError(f"from_pixels=true does not go with format={chosen.name}")
    if from_pixels and not network.has_stated_preprocessing:
        raise ConfigError(
            "from_pixels=true needs to know how images were normalised, which the model does not "
            "say"
        )
    own = copy.deepcopy(network).eval().requires_grad_(False).to("cpu", torch.float32)
    own.set_grad_checkpointing(False)
    return Job(
        network=own,
        module=FromPixels(own).eval() if from_pixels else own,
        facts=export_facts(own, takes_pixels=from_pixels),
        opset=opset,
    )


def _num_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
