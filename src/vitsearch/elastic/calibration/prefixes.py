"""Repaired weights of every prefix of an order, from one factorisation.

With A = S + lambda I = L L^T in the order of the units, the weights repaired for the first k inputs
are (W L)_{:, :k} L_{:k, :k}^-1, and the squared columns of W L beyond k are the error that is left.
A size then costs one triangular solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.elastic.calibration.moments import Moments
from vitsearch.elastic.calibration.solves import factorise, ridge_of
from vitsearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PrefixRepair:
    """A linear layer in the order of its inputs, ready to be repaired for any prefix of them.

    Attributes:
        order: Input numbers, most important first, `(d,)`.
        factor: L, `(d, d)`.
        outputs: W L, `(C, d)`.
        weight: W in that order, `(C, d)`.
        bias: b, `(C,)`, or None.
        mean: Mean of the inputs in that order, `(d,)`.
        errors: `errors[k]` is E||error||^2 plus the ridge's part with the first k inputs kept,
            `(d + 1,)`.
    """

    order: Tensor
    factor: Tensor
    outputs: Tensor
    weight: Tensor
    bias: Tensor | None
    mean: Tensor
    errors: Tensor

    @classmethod
    def of(
        cls,
        weight: Tensor,
        bias: Tensor | None,
        moments: Moments,
        order: Tensor,
        *,
        ridge: float = 0.01,
        dtype: torch.dtype = torch.float64,
    ) -> PrefixRepair:
        """Factorise once, in float64, and keep the factor in `dtype`.

        Args:
            weight: `(C, d)`, inputs in their original order.
            bias: `(C,)`; None fits without an intercept.
            moments: Moments of the inputs, in their original order.
            order: All d input numbers, most important first.
            ridge: lambda as a multiple of the mean variance, as for `fold`.
            dtype: Precision in which prefixes are solved.

        Raises:
            ConfigError: The covariance is singular and the ridge does not help.
        """
        full = weight.to(moments.scatter)[:, order]
        second = moments.second_moment if bias is None else moments.covariance
        matrix = second[order][:, order]
        matrix.diagonal().add_(ridge_of(second, ridge))
        factor = factorise(matrix)
        if factor is None:
            raise ConfigError(f"ridge: {ridge}; must be above 0 where inputs depend on each other")
        outputs = full @ factor
        tail = outputs.square().sum(0).flip(0).cumsum(0).flip(0)
        return cls(
            order=order,
            factor=factor.to(dtype),
            outputs=outputs.to(dtype),
            weight=full.to(dtype),
            bias=bias,
            mean=moments.mean[order].to(dtype),
            errors=torch.cat([tail, tail.new_zeros(1)]),
        )

    def fold(self, size: int) -> tuple[Tensor, Tensor | None]:
        """Weights `(C, size)` and bias for the first `size` inputs; equal to `repair.fold`."""
        if not 0 <= size <= len(self.order):
            raise ConfigError(f"size: {size}; must be from 0 to {len(self.order)}")
        if size == len(self.order):
            return self.weight, self.bias
        leading = self.factor[:size, :size]
        new = torch.linalg.solve_triangular(
            leading, self.outputs[:, :size], upper=False, left=False
        )
        if self.bias is None:
            return new, None
        shift = self.weight @ self.mean - new @ self.mean[:size]
        return new, (self.bias.to(shift) + shift).to(self.bias)
