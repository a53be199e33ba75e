"""Mixup and cutmix of a batch, and which label each image and each patch then has.

The arithmetic and the draws from numpy's global generator are those of `timm.data.Mixup` in batch
mode, which keeps the box to itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from timm.data.mixup import cutmix_bbox_and_lam, mixup_target
from torch import Tensor

Grid = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How each image of a batch was mixed with its partner, the image as far from the other end.

    Attributes:
        own: (B, classes), the targets before mixing, smoothed.
        lam: Share of an image that is its own.
        box: Where cutmix put the partner: first row and the one behind the last, first column and
            the one behind the last, in pixels; `None` for mixup.
        image_size: Height and width, pixels.
    """

    own: Tensor
    lam: float
    box: Box | None
    image_size: tuple[int, int]

    @property
    def targets(self) -> Tensor:
        """(B, classes): the mixed targets of the images."""
        return self.own * self.lam + self.own.flip(0) * (1.0 - self.lam)

    def patch_targets(self, grid: Grid) -> Tensor:
        """(B, patches, classes): targets of the cells of a grid over the image, row by row.

        A cell has the partner's label as far as the box covers its area, so that the mean over the
        cells is the target of the image. Source: ViT-ResNAS, section 3.3.
        """
        if self.box is None:
            return self.targets[:, None].expand(-1, grid[0] * grid[1], -1)
        (top, bottom, left, right), (height, width) = self.box, self.image_size
        covered = torch.outer(
            _overlap(top, bottom, height, grid[0]), _overlap(left, right, width, grid[1])
        )
        partner = covered.flatten().to(self.own)[None, :, None]
        return self.own[:, None] * (1.0 - partner) + self.own.flip(0)[:, None] * partner


class MixedBatch(tuple[Tensor, Tensor]):
    """Images and targets, a pair, that also knows how they were mixed.

    Attributes:
        mixing: `None` if they were not.
    """

    mixing: Mixing | None

    def __new__(cls, images: Tensor, targets: Tensor, mixing: Mixing | None = None) -> MixedBatch:
        """Make the pair."""
        pair = super().__new__(cls, (images, targets))
        pair.mixing = mixing
        return pair


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMixer:
    """Mixes all images of a batch alike, by mixup or by cutmix, evenly if both are on.

    Attributes:
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of cutmix; 0 for none.
        label_smoothing: Share of the targets spread over all classes.
        num_classes: Of the targets.
    """

    mixup: float
    cutmix: float
    label_smoothing: float
    num_classes: int

    def __call__(self, images: Tensor, labels: Tensor) -> MixedBatch:
        """Images (B, C, H, W) and labels (B,) to mixed images and targets (B, classes)."""
        if not self.mixup and not self.cutmix:
            return MixedBatch(images, labels)
        lam, cut = self._draw()
        box: Box | None = None
        if cut and lam != 1.0:
            box, lam = cutmix_bbox_and_lam(images.shape, lam)
            top, bottom, left, right = (int(edge) for edge in box)
            box = (top, bottom, left, right)
            partners = images.flip(0)[:, :, top:bottom, left:right]
            images = images.clone()
            images[:, :, top:bottom, left:right] = partners
        elif lam != 1.0:
            images = images * lam + images.flip(0) * (1.0 - lam)
        own = mixup_target(labels, self.num_classes, 1.0, self.label_smoothing)
        size = (images.shape[-2], images.shape[-1])
        mixing = Mixing(own=own, lam=float(lam), box=box, image_size=size)
        return MixedBatch(images, mixing.targets, mixing)

    def _draw(self) -> tuple[float, bool]:
        """Share of the images' own, and whether to cut."""
        np.random.rand()  # timm draws whether to mix at all, here always
        cut = bool(np.random.rand() < 0.5) if self.mixup and self.cutmix else bool(self.cutmix)
        alpha = self.cutmix if cut else self.mixup
        return float(np.random.beta(alpha, alpha)), cut


def _overlap(begin: int, end: int, size: int, cells: int) -> Tensor:
    """(cells,): the part of each of equal cells of [0, size] that lies in [begin, end]."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * size / cells
    inside = edges[1:].clamp(max=end) - edges[:-1].clamp(min=begin)
    return inside.clamp(min=0) * cells / size
