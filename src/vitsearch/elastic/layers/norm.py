"""LayerNorm, RMSNorm and BatchNorm over the channels of a width."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis, paste
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, SizesT
from vitsearch.elastic.region import Region


class FinalNormSizes(Protocol):
    """C; see `vitsearch.spaces.parts.NormPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""


class _ChannelNorm(ElasticModule[SizesT]):
    """LayerNorm or RMSNorm over the C channels that come in.

    Attributes:
        kind: `layer` or `rms`.
        eps: Added to the variance.
    """

    bias: nn.Parameter | None

    def __init__(self, dim: AxisLike, eps: float = 1e-6, *, kind: str = "layer") -> None:
        super().__init__()
        self.kind = kind
        self.eps = eps
        self._axis = as_axis(dim)
        self.weight = nn.Parameter(torch.ones(self._axis.size))
        if kind == "layer":
            self.bias = nn.Parameter(torch.zeros(self._axis.size))
        else:
            self.register_parameter("bias", None)

    def regions(self, sizes: SizesT, alignment: Alignment = "prefix") -> dict[str, Region]:
        """C entries."""
        own = Region((self._axis.range(0, self._width(sizes), alignment),))
        return dict.fromkeys(("weight",) if self.bias is None else ("weight", "bias"), own)

    def forward(self, x: Tensor, sizes: SizesT, context: Context = PLAIN) -> Tensor:
        """(..., C) to the same shape."""
        tensors, width = self.tensors(sizes, context), self._width(sizes)
        if self.kind == "rms":
            return F.rms_norm(x, (width,), tensors["weight"], self.eps)
        return F.layer_norm(x, (width,), tensors["weight"], tensors["bias"], self.eps)

    def _width(self, sizes: SizesT) -> int:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The largest size."""
        return f"{self.weight.numel()}, eps={self.eps}"


class ElasticLayerNorm(_ChannelNorm[int]):
    """LayerNorm (or RMSNorm) inside a layer; `sizes` is C."""

    def _width(self, sizes: int) -> int:
        return sizes


class ElasticFinalNorm(_ChannelNorm[FinalNormSizes]):
    """LayerNorm (or RMSNorm) as a node of a network; `sizes` is its plan."""

    def _width(self, sizes: FinalNormSizes) -> int:
        return sizes.embed_dim


class ElasticBatchNorm(ElasticModule[int]):
    """BatchNorm over (B, C, ...); `sizes` is C.

    In training it normalises by the batch and keeps running statistics of the active channels, as
    every BatchNorm does. In a supernet those mix all architectures, so a call can carry the
    statistics of its architecture, or an estimator that collects them (see `Context`).

    Attributes:
        path: The layer's name in its network; statistics are filed under it.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: AxisLike, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self._axis = as_axis(dim)
        self.eps = eps
        self.momentum = momentum
        self.path = ""
        self.weight = nn.Parameter(torch.ones(self._axis.size))
        self.bias = nn.Parameter(torch.zeros(self._axis.size))
        self.register_buffer("running_mean", torch.zeros(self._axis.size))
        self.register_buffer("running_var", torch.ones(self._axis.size))

    def regions(self, sizes: int, alignment: Alignment = "prefix") -> dict[str, Region]:
        """C entries, statistics included."""
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, Region((self._axis.range(0, sizes, alignment),)))

    def forward(self, x: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """(B, C, ...) to the same shape."""
        tensors = self.tensors(sizes, context)
        region = self.regions(sizes, context.alignment)["running_mean"]
        # Cut now: an earlier share of the same step may have moved them.
        mean, var = region.cut(self.running_mean), region.cut(self.running_var)
        training, key = self.training, context.norm_key(self.path)
        if context.estimator is not None:
            mean, var = context.estimator.update(key, x)
            training = False
        elif not training and context.statistics is not None and key in context.statistics:
            mean, var = context.statistics[key]
        if mean.dtype != self.running_mean.dtype:  # statistics are collected in float32
            mean, var = mean.to(self.running_mean.dtype), var.to(self.running_var.dtype)
        momentum = 0.0 if context.recomputing else self.momentum
        x = batch_norm(
            x, mean, var, tensors["weight"], tensors["bias"], training, momentum, self.eps
        )
        if training and mean._base is None and mean is not self.running_mean:
            # The channels wrap around: what was updated is a copy.
            paste(self.running_mean, self._axis, sizes, context.alignment, mean)
            paste(self.running_var, self._axis, sizes, context.alignment, var)
        return x

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor, sizes: int, context: Context = PLAIN) -> None:
        """Move the running statistics as a batch does that was normalised elsewhere.

        Args:
            mean: (C,) of the batch.
            var: (C,) of the batch, unbiased.
            sizes: C.
            context: What the call carried.
        """
        if context.recomputing:
            return
        region = self.regions(sizes, context.alignment)["running_mean"]
        for running, seen in ((self.running_mean.data, mean), (self.running_var.data, var)):
            own = region.cut(running)
            own.mul_(1 - self.momentum).add_(seen, alpha=self.momentum)
            if own._base is None and own is not running:
                paste(running, self._axis, sizes, context.alignment, own)

    def extra_repr(self) -> str:
        """The largest size."""
        return f"{self.weight.numel()}, eps={self.eps}"


def batch_norm(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """BatchNorm of images (B, C, H, W) or tokens (B, C, N), running statistics in place.

    Tokens go in as an image of one row: BatchNorm keeps the layout of images, but makes a row of
    tokens contiguous, which costs a copy, and which torch.compile does not expect.
    """
    row = x.dim() == 3
    x = x.unsqueeze(2) if row else x
    x = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    return x.squeeze(2) if row else x
