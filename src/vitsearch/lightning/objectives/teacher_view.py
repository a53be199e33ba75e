"""The training images as a teacher expects them: size, channels, normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.lightning.objectives.base import ImageFacts
from vitsearch.spaces.flow import ImageSize, sides
from vitsearch.supernet import VisionTransformer


class TeacherView(nn.Module):
    """Training images as a network expects them."""

    scale: Tensor | None
    shift: Tensor | None

    def __init__(
        self, network: nn.Module, images: ImageFacts, image_size: int | None, normalize: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.size: ImageSize = image_size or _image_size(network) or images.image_size
        chans = _in_chans(network) or images.in_chans
        if chans != images.in_chans and images.in_chans != 1:
            raise ConfigError(
                f"teacher: it sees {chans} channels, the images have {images.in_chans}; only grey "
                f"images can be made into others"
            )
        self.chans = chans
        affine = _affine(network, images, chans) if normalize else None
        self.register_buffer("scale", None if affine is None else affine[0])
        self.register_buffer("shift", None if affine is None else affine[1])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, chans, H, W) of the size that it expects."""
        dtype, size = images.dtype, sides(self.size)
        if images.shape[-2:] != size:
            wide = images if dtype == torch.float64 else images.float()  # no kernel in half
            wide = F.interpolate(wide, size=size, mode="bilinear", antialias=True)
            images = wide.to(dtype)
        images = images.expand(-1, self.chans, -1, -1)
        if self.scale is None or self.shift is None:
            return images
        return images * self.scale + self.shift


def _image_size(network: nn.Module) -> ImageSize | None:
    """The size of the images that a network expects, if it says."""
    if isinstance(network, VisionTransformer):
        return network.space.image_size
    built_for = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if isinstance(built_for, tuple | list):
        return int(built_for[-1])
    size = _config(network).get("input_size")
    return int(size[-1]) if size else None


def _in_chans(network: nn.Module) -> int | None:
    """Channels that a network expects: its first convolution's."""
    if isinstance(network, VisionTransformer):
        return network.space.in_chans
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return None


def _affine(network: nn.Module, images: ImageFacts, chans: int) -> tuple[Tensor, Tensor] | None:
    """Factor and summand (1, C, 1, 1) from the images' normalisation to the network's."""
    if isinstance(network, VisionTransformer) and not network.has_stated_preprocessing:
        return None  # nobody has said; ImageNet's would be a guess
    mean, std = _config(network).get("mean"), _config(network).get("std")
    if mean is None or std is None:
        return None
    if images.mean is None or images.std is None:
        raise ConfigError(
            "teacher: it expects normalised pixels, but how the images are normalised is unknown: "
            "give the data module `mean` and `std`, or teacher.normalize=false if they are as it "
            "expects"
        )
    (own_mean, own_std), (mean, std) = (
        [torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in pair]
        for pair in ((images.mean, images.std), (mean, std))
    )
    if mean.shape[1] not in (1, chans):  # grey: as timm's data configuration has it
        mean, std = mean.mean(1, keepdim=True), std.mean(1, keepdim=True)
    scale, shift = own_std / std, (own_mean - mean) / std
    if torch.allclose(scale, torch.ones_like(scale)) and shift.abs().max() < 1e-6:
        return None
    return scale.float(), shift.float()


def _config(network: nn.Module) -> Mapping[str, Any]:
    config = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    return config if isinstance(config, Mapping) else {}
