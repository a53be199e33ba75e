"""LayerNorm and BatchNorm over the leading channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.base import PLAIN, Context, ElasticModule, leading


class ElasticLayerNorm(ElasticModule[int]):
    """LayerNorm over the C channels that come in; `sizes` is C."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def active(self, sizes: int) -> dict[str, Tensor]:
        """The first C entries."""
        return {"weight": leading(self.weight, sizes), "bias": leading(self.bias, sizes)}

    def forward(self, x: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        tensors = self.active(sizes)
        return F.layer_norm(x, (sizes,), tensors["weight"], tensors["bias"], self.eps)

    def extra_repr(self) -> str:
        """The largest size."""
        return f"{self.weight.numel()}, eps={self.eps}"


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

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.path = ""
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def active(self, sizes: int) -> dict[str, Tensor]:
        """The first C entries, statistics included."""
        return {
            "weight": leading(self.weight, sizes),
            "bias": leading(self.bias, sizes),
            "running_mean": leading(self.running_mean, sizes),
            "running_var": leading(self.running_var, sizes),
        }

    def forward(self, x: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """(B, C, ...) to the same shape."""
        tensors = self.active(sizes)
        mean, var = tensors["running_mean"], tensors["running_var"]
        training = self.training
        if context.estimator is not None:
            mean, var = context.estimator.update(self.path, x)
            training = False
        elif not training and context.statistics is not None and self.path in context.statistics:
            mean, var = context.statistics[self.path]
        if mean.dtype != self.running_mean.dtype:  # statistics are collected in float32
            mean, var = mean.to(self.running_mean.dtype), var.to(self.running_var.dtype)
        momentum = 0.0 if context.recomputing else self.momentum
        return F.batch_norm(
            x, mean, var, tensors["weight"], tensors["bias"], training, momentum, self.eps
        )

    def extra_repr(self) -> str:
        """The largest size."""
        return f"{self.weight.numel()}, eps={self.eps}"
