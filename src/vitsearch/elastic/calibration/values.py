"""Fewer dimensions for the values of a head, with its part of the output kept as close as possible.

Attention averages values with weights that sum to one, so a basis U of the values is a basis of the
head's output o: v' = U^T v gives o' = U^T o, biases included. The output layer adds P o, with P its
columns for this head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.elastic.calibration.moments import Moments
from vitsearch.elastic.calibration.solves import square_roots


@dataclass(frozen=True, slots=True)
class ValueBasis:
    """An orthonormal basis of one head's values, most important columns first.

    The first r columns are the basis for r dimensions; with all of them nothing is lost. They are
    folded in by `U^T W_v`, `U^T b_v` and `P U`; `fold(basis=...)` finds better output weights.

    Attributes:
        basis: U, `(d, d)`.
        errors: `errors[r]` is the share of the variance of P o that r dimensions lose, `(d + 1,)`.
        total: Variance of P o, summed over channels.
    """

    basis: Tensor
    errors: Tensor
    total: float


def value_basis(columns: Tensor, outputs: Moments) -> ValueBasis:
    """Basis that keeps most of P o, for every number of dimensions.

    With P S^(1/2) = X s Y^T the best approximation of rank r is X_r X_r^T P o, so the values are to
    be read along P^T X_r. Orthonormal columns span the same spaces, prefix by prefix.

    Args:
        columns: P, the output layer's columns for this head, `(C, d)`; times LayerScale where a
            branch has one.
        outputs: Moments of o, the head's part of the output layer's input.
    """
    columns = columns.to(outputs.scatter)
    root, inverse = square_roots(outputs.covariance)
    _, sizes, right = torch.linalg.svd(columns @ root, full_matrices=True)
    # P^T X s = S^(-1/2) Y s^2: Y is complete where P has fewer rows than columns.
    basis, _ = torch.linalg.qr(inverse @ right.T)
    squares = torch.zeros(outputs.dim, dtype=sizes.dtype, device=sizes.device)
    squares[: len(sizes)] = sizes.square()
    tail = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)])
    return ValueBasis(basis, tail / tail[0].clamp(min=1e-300), float(squares.sum()))
