"""A branch of MixConv: 1x1 convolution, depthwise convolution, 1x1 convolution.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.1.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.axis import Axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis, UnitNorm
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d, ElasticDepthwiseConv2d
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.norm import ElasticBatchNorm

ACTIVATIONS = {"relu": F.relu, "swish": F.silu}


class LayerKind(Protocol):
    """What all layers of a network have in common; see `vitsearch.spaces.parts.hr.MapLayers`."""

    @property
    def activation(self) -> str:
        """`relu` or `swish`."""

    @property
    def norm_eps(self) -> float:
        """Of BatchNorms."""

    @property
    def norm_momentum(self) -> float:
        """Of BatchNorms."""


def norm_of(dim: Axis | int, kind: LayerKind) -> ElasticBatchNorm:
    """A BatchNorm with the network's settings."""
    return ElasticBatchNorm(dim, kind.norm_eps, kind.norm_momentum)


class ElasticMixBranch(ElasticModule[Any]):
    """One branch; `sizes` is a `MixBranchPlan`.

    `hidden` and `project` are its two halves: between them stands the block's squeeze-excitation,
    whose layers are here as far as they belong to the branch.
    """

    def __init__(
        self,
        in_dim: int,
        channels: Axis,
        embed_dim: int,
        kernel_size: int,
        *,
        stride: int,
        squeezed: int,
        kind: LayerKind,
    ) -> None:
        super().__init__()
        self._act = ACTIVATIONS[kind.activation]
        self.expand = ElasticConv2d(in_dim, channels, 1, bias=False)
        self.norm1 = norm_of(channels, kind)
        self.depthwise = ElasticDepthwiseConv2d(channels, kernel_size, stride=stride)
        self.norm2 = norm_of(channels, kind)
        self.project = ElasticConv2d(channels, embed_dim, 1, bias=False)
        self.squeeze: ElasticLinear | None = None
        self.excite: ElasticLinear | None = None
        if squeezed:
            self.squeeze = ElasticLinear(channels, squeezed, bias=False)
            self.excite = ElasticLinear(squeezed, channels)

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """The channels inside, for every layer."""
        step, inside = sizes.step, sizes.channels
        found: dict[str, Any] = {
            "expand": ConvSizes(step.in_dim, inside),
            "norm1": inside,
            "depthwise": inside,
            "norm2": inside,
            "project": ConvSizes(inside, step.embed_dim),
        }
        if self.squeeze is not None:
            found["squeeze"] = LinearSizes((inside,), (sizes.squeezed,))
            found["excite"] = LinearSizes((sizes.squeezed,), (inside,))
        return found

    def channels(self, prefix: str, constant: str) -> TiedAxis:
        """The channels inside, as units.

        With a BatchNorm weight of 0 a channel is a constant, unless squeeze-excitation scales it by
        what the image says.

        Args:
            prefix: In front of all names.
            constant: What can take over a constant, by its whole name; see `UnitNorm`.
        """
        size = self.expand.weight.shape[0]
        norms = tuple(
            (f"{norm}.{name}", (size,), 0)
            for norm in ("norm1", "norm2")
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        places = [
            ("expand.weight", tuple(self.expand.weight.shape), 0),
            *norms,
            ("depthwise.weight", tuple(self.depthwise.weight.shape), 0),
            ("project.weight", tuple(self.project.weight.shape), 1),
        ]
        behind = UnitNorm(f"{prefix}norm2.weight", f"{prefix}norm2.bias", self._act, constant)
        if self.squeeze is not None and self.excite is not None:
            places += self.squeeze.places_of("squeeze", columns=0)
            places += self.excite.places_of("excite", rows=0)
        return TiedAxis(
            tuple((prefix + name, shape, dim) for name, shape, dim in places),
            f"{prefix}project.weight",
            behind if self.squeeze is None else None,
        )

    def hidden(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, C_in, H, W) to (B, c, H / stride, W / stride)."""
        of = self.children_sizes(sizes)
        x = self._act(self.norm1(self.expand(x, of["expand"], context), of["norm1"], context))
        x = self.depthwise(x, of["depthwise"], context)
        return self._act(self.norm2(x, of["norm2"], context))

    def projected(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, c, H, W) to (B, C_out, H, W)."""
        return self.project(x, self.children_sizes(sizes)["project"], context)  # type: ignore[no-any-return]
