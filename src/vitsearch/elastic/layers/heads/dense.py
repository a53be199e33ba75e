"""A classifier of every patch token, or of every pixel of a map."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from vitsearch.elastic.axis import AxisLike
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d


class DenseSizes(Protocol):
    """Sizes of the head; see `vitsearch.spaces.parts.DensePlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""


class ElasticDense(ElasticModule[DenseSizes]):
    """Tokens (B, N, C), row by row, or a map (B, C, h, w), to (B, num_classes, h, w).

    With 0 classes the features are the answer, as a map.
    """

    def __init__(self, embed_dim: AxisLike, num_classes: int) -> None:
        super().__init__()
        self._num_classes = num_classes
        self.classifier = ElasticConv2d(embed_dim, num_classes, 1) if num_classes else None
        if self.classifier is not None:  # as of classifiers of images
            nn.init.xavier_uniform_(self.classifier.weight)

    def children_sizes(self, sizes: DenseSizes) -> dict[str, ConvSizes]:
        """The channels of the features."""
        if self.classifier is None:
            return {}
        return {"classifier": ConvSizes(sizes.embed_dim, self._num_classes)}

    def forward(self, x: Tensor, sizes: DenseSizes, context: Context = PLAIN) -> Tensor:
        """Prefix tokens go, patches take their places, each is classified."""
        if x.dim() == 3:
            patches = x[:, sizes.num_prefix_tokens :]
            x = patches.mT.reshape(patches.shape[0], -1, *sizes.grid)
        if self.classifier is None:
            return x
        own = self.children_sizes(sizes)["classifier"]
        return self.classifier(x, own, context)  # type: ignore[no-any-return]
