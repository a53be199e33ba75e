"""A linear layer in groups of channels, each of which sees a few channels of the input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.region import Region


@dataclass(frozen=True, slots=True)
class GroupedSizes:
    """Channels that each group sees, channels out of all groups, and how many groups there are."""

    in_group: int
    out_dim: int
    groups: int


class ElasticGrouped(ElasticModule[GroupedSizes]):
    """A 1x1 convolution in groups, without bias.

    Groups have a fixed number of channels out, so a prefix of channels is a prefix of groups.
    """

    def __init__(self, in_group: AxisLike, out_dim: AxisLike) -> None:
        super().__init__()
        self._in_axis, self._out_axis = as_axis(in_group), as_axis(out_dim)
        self.weight = nn.Parameter(torch.empty(self._out_axis.size, self._in_axis.size))
        nn.init.xavier_uniform_(self.weight)

    def regions(self, sizes: GroupedSizes, alignment: Alignment = "prefix") -> dict[str, Region]:
        """Rows of the groups, and what each of them sees."""
        rows = self._out_axis.range(0, sizes.out_dim, alignment)
        columns = self._in_axis.range(1, sizes.in_group, alignment)
        return {"weight": Region((rows, columns))}

    def forward(self, x: Tensor, sizes: GroupedSizes, context: Context = PLAIN) -> Tensor:
        """(B, C_in, N) to (B, C_out, N)."""
        weight = self.tensors(sizes, context)["weight"]
        return F.conv1d(x, weight.unsqueeze(-1), groups=sizes.groups)

    def extra_repr(self) -> str:
        """The largest sizes."""
        out_dim, in_group = self.weight.shape
        return f"{out_dim}, {in_group} channels for each group"
