"""Solves with covariances: Cholesky where it is accurate, eigenvalues where it is not.

A channel that is always zero, two that are always equal, or fewer rows than channels make a
covariance singular. Without a ridge the solution of least norm is returned then.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitsearch.errors import ConfigError

_ROUNDING = 64 * torch.finfo(torch.float64).eps


def check_ridge(ridge: float) -> None:
    """Refuse a ridge that is negative or not finite."""
    if not 0 <= ridge < float("inf"):
        raise ConfigError(f"ridge: {ridge}; must be a finite number, at least 0")


def ridge_of(covariance: Tensor, ridge: float) -> float:
    """Number to add to the diagonal: `ridge` times the mean variance."""
    check_ridge(ridge)
    return ridge * float(covariance.diagonal().mean())


def factorise(matrix: Tensor) -> Tensor | None:
    """Lower Cholesky factor of a symmetric `(n, n)`; None where rounding would dominate it."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) != 0:
        return None
    smallest = (factor.diagonal().square() / matrix.diagonal()).min() if len(matrix) else 1.0
    return factor if float(smallest) > _ROUNDING * max(len(matrix), 1) else None


def solve_right(right: Tensor, matrix: Tensor) -> Tensor:
    """X with X `matrix` = `right`: `(C, n)` for a symmetric positive `matrix` `(n, n)`.

    Where `matrix` is singular, X is the least squares solution of least norm.
    """
    factor = factorise(matrix)
    if factor is not None:
        solved: Tensor = torch.cholesky_solve(right.T, factor)
        return solved.T
    # Scaled to unit diagonal: a channel of small variance is not taken for a dependent one.
    scale = matrix.diagonal().clamp(min=0).sqrt()
    inverse = torch.where(scale > 0, 1 / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0.0)
    values, vectors = torch.linalg.eigh(matrix * inverse * inverse[:, None])
    legal = values > _ROUNDING * len(matrix) * values.max().clamp(min=1e-300)
    weights = torch.where(legal, 1 / torch.where(legal, values, 1.0), 0.0)
    least: Tensor = ((right * inverse) @ vectors * weights) @ vectors.T * inverse
    return least


def square_roots(matrix: Tensor, *, floor: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Symmetric square root of a positive semi-definite `(n, n)`, and the inverse of the root.

    Eigenvalues below `floor` times the largest are raised to it, so that the product of both is
    the identity also where the matrix is singular.
    """
    values, vectors = torch.linalg.eigh(matrix)
    largest = float(values.max()) if len(values) else 0.0
    roots = values.clamp(min=floor * largest if largest > 0 else 1.0).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
