"""What is done to an image and its mask together: cut, mirror, resize, normalise.

Images are interpolated, masks never are. Random numbers come from PyTorch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

Pair = tuple[Tensor, Tensor]
MaskTransform = Callable[[Image.Image, npt.NDArray[np.uint8]], Pair]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def mask_transform(
    *,
    size: tuple[int, int],
    interpolation: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augment: bool,
    scale: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (1.0, 1.0),
    hflip: float = 0.0,
    color_jitter: float = 0.0,
) -> MaskTransform:
    """From an image and its mask to tensors (C, *size), normalised, and (*size), int64.

    Args:
        size: Rows and columns.
        interpolation: Of images; one of `INTERPOLATIONS`.
        mean: Of the pixels in [0, 1], by channel.
        std: Their standard deviation.
        augment: Whether a random part is cut out, mirrored, and changed in colour; if not, the
            whole image is resized.
        scale: Smallest and largest area of that part, as a share of the image.
        ratio: Smallest and largest width / height of it.
        hflip: Probability that it is mirrored.
        color_jitter: Strength of the change of brightness, contrast and saturation.
    """
    from torchvision import tv_tensors  # takes a second, which only those wait who read files
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(interpolation)
    steps: list[Any] = []
    if augment:
        steps.append(v2.RandomResizedCrop(size, scale, ratio, interpolation=mode, antialias=True))
        steps.append(v2.RandomHorizontalFlip(hflip))
        if color_jitter:
            steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter))
    else:
        steps.append(v2.Resize(size, interpolation=mode, antialias=True))
    steps.append(v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True))
    steps.append(v2.Normalize(list(mean), list(std)))
    transform = v2.Compose(steps)

    def run(image: Image.Image, mask: npt.NDArray[np.uint8]) -> Pair:
        shown = tv_tensors.Image(v2.functional.pil_to_tensor(image))
        pair: tuple[Tensor, Tensor] = transform(shown, tv_tensors.Mask(torch.from_numpy(mask)))
        return pair[0].as_subclass(Tensor), pair[1].as_subclass(Tensor).long()

    return run
