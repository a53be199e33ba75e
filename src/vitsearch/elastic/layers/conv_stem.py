"""Convolutional stem: three 3x3 convolutions at half size, then a patch stem on their sum.

Source: Searching for Efficient Multi-Stage Vision Transformers (2021), section 3.1.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.norm import ElasticBatchNorm
from vitsearch.elastic.layers.stem import ElasticPatchStem


class ConvStemSizes(Protocol):
    """The projection's sizes; see `vitsearch.spaces.parts.ConvStemPlan`."""

    @property
    def patch(self) -> Any:
        """Sizes of the patch stem on the feature map."""


class ElasticConvStem(ElasticModule[ConvStemSizes]):
    """y = ReLU(BN(conv1)); z = two more convolutions; patches of y + z.

    The convolutions have no choice, so all architectures share their result.
    """

    def __init__(self, in_chans: int, mid_chans: int, patch: ElasticPatchStem) -> None:
        super().__init__()
        self._sizes = (ConvSizes(in_chans, mid_chans), ConvSizes(mid_chans, mid_chans))
        self.conv1 = ElasticConv2d(in_chans, mid_chans, 3, stride=2, bias=False)
        self.norm1 = ElasticBatchNorm(mid_chans)
        self.conv2 = ElasticConv2d(mid_chans, mid_chans, 3, bias=False)
        self.norm2 = ElasticBatchNorm(mid_chans)
        self.conv3 = ElasticConv2d(mid_chans, mid_chans, 3, bias=False)
        self.norm3 = ElasticBatchNorm(mid_chans)
        self.patch = patch

    def children_sizes(self, sizes: ConvStemSizes) -> dict[str, Any]:
        """The convolutions whole, the projection's own sizes."""
        first, further = self._sizes
        mid = further.out_chans
        return {
            "conv1": first,
            "norm1": mid,
            "conv2": further,
            "norm2": mid,
            "conv3": further,
            "norm3": mid,
            "patch": sizes.patch,
        }

    def forward(self, images: Tensor, sizes: ConvStemSizes, context: Context = PLAIN) -> Tensor:
        """(B, in_chans, H, W) to (B, prefix + patches, C)."""
        of = self.children_sizes(sizes)

        def unit(number: int, x: Tensor) -> Tensor:
            conv, norm = f"conv{number}", f"norm{number}"
            x = self.get_submodule(conv)(x, of[conv], context)
            return F.relu(self.get_submodule(norm)(x, of[norm], context))

        # Channels last: convolutions of few channels are faster, and patches come out as tokens.
        y = unit(1, images.contiguous(memory_format=torch.channels_last))
        return self.patch(y + unit(3, unit(2, y)), of["patch"], context)  # type: ignore[no-any-return]
