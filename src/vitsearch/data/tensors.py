"""Images kept in one tensor: whole batches are cut, flipped and normalised by tensor operations.

For data sets of small images that fit in memory. Random numbers come from the key of an image and
the epoch, so a batch does not depend on what else was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vitsearch.data.datasets import Batch, EpochDataset
from vitsearch.data.randomness import Purpose, UInt64Array, hashes, uniforms
from vitsearch.data.splits import Int64Array
from vitsearch.errors import DataError
from vitsearch.errors.checks import check_number, check_whole

_RESIZE_CHUNK = 1024
_NUM_DRAWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorAugmentation:
    """How training images are changed.

    Attributes:
        crop_padding: Zeros around the image, from which a random crop of its size is cut; 0: none.
        horizontal_flip: Whether half of the images are mirrored.
        erase_prob: Probability that a random rectangle is set to the mean colour.
        erase_scale: Smallest and largest area of the rectangle, as a part of the image.
        erase_ratio: Smallest and largest height / width of the rectangle.
    """

    crop_padding: int = 2
    horizontal_flip: bool = True
    erase_prob: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 1 / 3)
    erase_ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def __post_init__(self) -> None:
        check_whole("crop_padding", self.crop_padding, 0, error=DataError)
        check_number("erase_prob", self.erase_prob, "[0, 1]", error=DataError)

    def crop_and_flip(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Cut and mirror, in one gather: (B, C, H, W) -> (B, C, H, W)."""
        size, (height, width) = len(images), images.shape[-2:]
        span = 2 * self.crop_padding + 1
        rows = (draws[:, 0:1] * span).long() + torch.arange(height)
        columns = torch.arange(width).expand(size, -1)
        if self.horizontal_flip:
            columns = torch.where(draws[:, 2:3] < 0.5, columns.flip(1), columns)
        columns = columns + (draws[:, 1:2] * span).long()
        padded = F.pad(images, (self.crop_padding,) * 4) if self.crop_padding else images
        batch = torch.arange(size).view(-1, 1, 1, 1)
        channels = torch.arange(images.shape[1]).view(1, -1, 1, 1)
        return padded[batch, channels, rows[:, None, :, None], columns[:, None, None, :]]

    def erase(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Set random rectangles to zero, the mean of normalised images (Zhong et al., 2020)."""
        if self.erase_prob == 0:
            return images
        height, width = images.shape[-2:]
        area = _between(*self.erase_scale, draws[:, 4]) * height * width
        low, high = self.erase_ratio
        ratio = _between(math.log(low), math.log(high), draws[:, 5]).exp()
        box_height = (area * ratio).sqrt().round().clamp(1, height)
        box_width = (area / ratio).sqrt().round().clamp(1, width)
        top = (draws[:, 6] * (height - box_height + 1)).floor()
        left = (draws[:, 7] * (width - box_width + 1)).floor()
        mask = (
            _inside(top, box_height, height)[:, :, None] & _inside(left, box_width, width)[:, None]
        )
        mask &= (draws[:, 3] < self.erase_prob).view(-1, 1, 1)
        return images.masked_fill(mask[:, None], 0.0)


class TensorImages(EpochDataset):
    """A split of images kept in one tensor.

    Args:
        images: (M, C, H, W) uint8, of all splits; shared, not copied.
        labels: (M,) int64.
        keys: (M,) keys of the images for the random draws.
        indices: (N,) the images of this split.
        in_chans: Channels to return; grey images are repeated.
        mean: Mean of the pixels in [0, 1], one for each channel or one for all.
        std: Standard deviation of the pixels, likewise.
        augmentation: How the images are changed; not at all where None.
        seed: Seed of the augmentation.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        keys: UInt64Array,
        *,
        indices: torch.Tensor,
        in_chans: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augmentation: TensorAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        assert images.dtype == torch.uint8
        assert images.shape[1] in (1, in_chans)
        self.images = images
        self.labels = labels
        self.keys = keys
        self.indices = indices
        self.in_chans = in_chans
        self.augmentation = augmentation
        self.seed = seed
        self._mean = torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1)
        self._std = torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.indices)

    def fetch(self, positions: Int64Array, epochs: Int64Array) -> Batch:
        """Read a batch: images (B, C, H, W) float32, labels (B,)."""
        chosen = self.indices[torch.from_numpy(positions)]
        images = self.images[chosen]
        if self.augmentation is None:
            return Batch(self._normalised(images), self.labels[chosen])
        hashed = hashes(self.seed, Purpose.AUGMENTATION, self.keys[chosen.numpy()], epoch=epochs)
        draws = torch.from_numpy(uniforms(hashed, _NUM_DRAWS))
        images = self._normalised(self.augmentation.crop_and_flip(images, draws))
        return Batch(self.augmentation.erase(images, draws), self.labels[chosen])

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        scaled = images.float().div_(255)
        if scaled.shape[1] < self._mean.shape[1]:  # grey images, each channel with its own mean
            scaled = scaled.expand(-1, self.in_chans, -1, -1).contiguous()
        scaled = scaled.sub_(self._mean).div_(self._std)
        if scaled.shape[1] != self.in_chans:
            scaled = scaled.expand(-1, self.in_chans, -1, -1).contiguous()
        return scaled


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resize (N, C, H, W) uint8 images to (N, C, size, size), bilinear and antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    result = torch.empty((*images.shape[:2], size, size), dtype=torch.uint8)
    for begin in range(0, len(images), _RESIZE_CHUNK):
        chunk = images[begin : begin + _RESIZE_CHUNK].float()
        chunk = F.interpolate(chunk, size=(size, size), mode="bilinear", antialias=True)
        result[begin : begin + _RESIZE_CHUNK] = chunk.round_().clamp_(0, 255).to(torch.uint8)
    return result


def _between(low: float, high: float, draws: torch.Tensor) -> torch.Tensor:
    return low + (high - low) * draws


def _inside(begin: torch.Tensor, length: torch.Tensor, size: int) -> torch.Tensor:
    """(B, size) True where a position lies in [begin, begin + length)."""
    positions = torch.arange(size)
    return (positions >= begin[:, None]) & (positions < (begin + length)[:, None])
