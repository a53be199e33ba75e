"""BatchNorm statistics that belong to one architecture, kept outside of the layers.

A supernet's running statistics mix all architectures. Before an architecture is scored or shipped,
its own are estimated: a few batches of training images pass through it, every BatchNorm layer
normalises by its batch and reports what it saw.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

NormStatistics = dict[str, tuple[Tensor, Tensor]]
"""Mean and variance by the layer's name in the supernet, each of its active channels."""


@dataclass(slots=True)
class NormEstimator:
    """Collects mean and variance over batches, exactly as over one large batch.

    Variances come from two passes over each batch and are combined by Chan's formula;
    E[x^2] - mean^2 loses three digits at mean 100 in float32.
    """

    _moments: dict[str, tuple[int, Tensor, Tensor]] = field(default_factory=dict)

    def update(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch `(B, C, ...)`; returns its mean and biased variance for normalisation."""
        dims = [dim for dim in range(x.dim()) if dim != 1]
        precise = x if x.dtype == torch.float64 else x.float()
        var, mean = torch.var_mean(precise, dim=dims, correction=0)
        count = x.numel() // x.shape[1]
        squares = var * count
        if name not in self._moments:
            self._moments[name] = (count, mean, squares)
        else:
            old_count, old_mean, old_squares = self._moments[name]
            total = old_count + count
            delta = mean - old_mean
            self._moments[name] = (
                total,
                old_mean + delta * (count / total),
                old_squares + squares + delta.square() * (old_count * count / total),
            )
        return mean, var

    def statistics(self) -> NormStatistics:
        """Mean and unbiased variance of all batches together, as running statistics hold them."""
        return {
            name: (mean, squares / max(count - 1, 1))
            for name, (count, mean, squares) in self._moments.items()
        }
