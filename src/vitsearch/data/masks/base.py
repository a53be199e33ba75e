"""What data modules of images with masks share: splits that no class balances, and the samples.

A sample is an image (C, H, W) and its mask (H, W) of numbers of classes; 255 stands for pixels that
are neither learnt nor counted. Whatever moves pixels moves both, and masks are never interpolated.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitsearch.data.base import SearchDataModule
from vitsearch.data.splits import ImageTable

IGNORED = 255
"""The label of pixels that are neither learnt nor counted, as VOC and Cityscapes have it."""
MOST_CLASSES = 255
"""Masks have 8 bits, and one number is not a class."""


class MaskDataModule(SearchDataModule):
    """Images with masks, for training a supernet and for searching it.

    An image has many classes, so splits are drawn from all images alike, by their keys; with
    `search_per_class` exactly so many images are held out.
    """

    takes_any_shape: ClassVar[bool] = True

    @property
    def groups(self) -> tuple[str, ...]:
        """One: all images."""
        return ("images",)


def table_of(keys: NDArray[np.integer]) -> ImageTable:
    """The table of images with these keys (N,), which are of one group."""
    return ImageTable.of(np.zeros(len(keys), dtype=np.int64), keys)


def cut_together(
    images: Tensor, masks: Tensor, size: tuple[int, int], draws: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cut images and masks alike, in one gather, and mirror half of them.

    Args:
        images: (B, C, H, W).
        masks: (B, H, W).
        size: Rows and columns of what is cut out.
        draws: (B, 3) in [0, 1): where the first row and column lie, and whether to mirror; the
            middle, as it is, where None.

    Returns:
        (B, C, *size) and (B, *size).
    """
    count, (height, width) = images.shape[0], size
    free = torch.tensor([images.shape[-2] - height, images.shape[-1] - width])
    columns = torch.arange(width).expand(count, -1)
    if draws is None:
        first = (free // 2).expand(count, -1)
    else:
        first = (draws[:, :2] * (free + 1)).long()
        columns = torch.where(draws[:, 2:3] < 0.5, columns.flip(1), columns)
    rows = (first[:, :1] + torch.arange(height))[:, :, None]
    columns = (first[:, 1:] + columns)[:, None, :]
    batch = torch.arange(count)[:, None, None]
    return images.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2), masks[
        batch, rows, columns
    ]
