"""Residual spatial reduction: half the grid, more channels, with a shortcut around it.

Source: Searching for Efficient Multi-Stage Vision Transformers (2021), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticLayerNorm
from vitsearch.elastic.region import Region

Grid = tuple[int, int]


class ReductionSizes(Protocol):
    """Widths and grids before and after; see `vitsearch.spaces.parts.ReductionPlan`."""

    @property
    def in_dim(self) -> int:
        """Channels before."""

    @property
    def embed_dim(self) -> int:
        """Channels after."""

    @property
    def in_grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens before."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens after."""

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""


class ElasticReduction(ElasticModule[ReductionSizes]):
    """A strided convolution for the patches, a linear layer for the prefix tokens, a shortcut.

    The shortcut is the input as it came, averaged over 2x2 patches, with channels of zeros put
    after its own. Where a grid is odd its last row and column are averaged alone.
    """

    def __init__(
        self, in_dim: AxisLike, dim: AxisLike, grids: Sequence[Grid], *, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self._axis = as_axis(dim)
        self.norm = ElasticLayerNorm(in_dim, norm_eps)
        self.conv = ElasticConv2d(in_dim, dim, 3, stride=2)
        self.token = ElasticLinear(in_dim, dim)
        self.pos_embed = nn.ParameterDict(
            {
                _name(grid): nn.Parameter(torch.empty(1, grid[0] * grid[1], self._axis.size))
                for grid in grids
            }
        )
        for positions in self.pos_embed.values():
            nn.init.trunc_normal_(positions, std=0.02)

    def regions(self, sizes: ReductionSizes, alignment: Alignment = "prefix") -> dict[str, Region]:
        """The position embedding of the patches that come out, private to their grid."""
        channels = self._axis.range(2, sizes.embed_dim, alignment)
        return {f"pos_embed.{_name(sizes.grid)}": Region((channels,))}

    def children_sizes(self, sizes: ReductionSizes) -> dict[str, Any]:
        """Both widths."""
        return {
            "norm": sizes.in_dim,
            "conv": ConvSizes(sizes.in_dim, sizes.embed_dim),
            "token": LinearSizes((sizes.in_dim,), (sizes.embed_dim,)),
        }

    def forward(self, x: Tensor, sizes: ReductionSizes, context: Context = PLAIN) -> Tensor:
        """(B, prefix + patches, C_in) to (B, prefix + patches / 4, C)."""
        of = self.children_sizes(sizes)
        (positions,) = self.tensors(sizes, context).values()
        prefix = sizes.num_prefix_tokens
        normed = self.norm(x, of["norm"], context)
        tokens = self.token(normed[:, :prefix], of["token"], context)
        patches = self.conv(_as_map(normed[:, prefix:], sizes.in_grid), of["conv"], context)
        patches = patches.flatten(2).transpose(1, 2) + positions
        pooled = F.avg_pool2d(
            _as_map(x[:, prefix:], sizes.in_grid), 2, ceil_mode=True, count_include_pad=False
        )
        shortcut = torch.cat([x[:, :prefix], pooled.flatten(2).transpose(1, 2)], dim=1)
        shortcut = F.pad(shortcut, (0, sizes.embed_dim - sizes.in_dim))
        return torch.cat([tokens, patches], dim=1) + shortcut


def _name(grid: Grid) -> str:
    return f"{grid[0]}x{grid[1]}"


def _as_map(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, C) to (B, C, rows, columns)."""
    return patches.transpose(1, 2).reshape(patches.shape[0], -1, *grid)
