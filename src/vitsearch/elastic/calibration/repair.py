"""Weights that make up for removed inputs of a linear layer, by least squares.

Units removed in front of a layer leave it with fewer inputs, or with a basis of fewer dimensions.
`fold` finds the weights that come closest to the original layer's outputs from the moments of the
original inputs alone; `refit` finds them for any inputs and targets, as when layer after layer of
a cut network is refitted on its own activations. Both are ridge regressions that stay close to the
weights at hand, and leave a layer from which nothing is removed as it is.
"""

from __future__ import annotations

from torch import Tensor

from vitsearch.elastic.calibration.moments import CrossMoments, Moments
from vitsearch.elastic.calibration.solves import ridge_of, solve_right
from vitsearch.errors import ConfigError


def fold(
    weight: Tensor,
    bias: Tensor | None,
    moments: Moments,
    *,
    kept: Tensor | None = None,
    basis: Tensor | None = None,
    ridge: float = 0.01,
) -> tuple[Tensor, Tensor | None]:
    """Weights on the inputs that remain, as close as possible to the whole layer's outputs.

    Minimises E||W' U^T h + b' - W h - b||^2 + lambda ||W' U^T - W||^2 over W' and b', where U are
    the columns `kept` of the identity, or `basis`.

    Args:
        weight: W, `(C, d)`.
        bias: b, `(C,)`; None fits without an intercept, from uncentred moments. Pass zeros to give
            a layer the bias that it does not have.
        moments: Moments of the layer's inputs h.
        kept: Indices of the inputs that remain, `(k,)`.
        basis: U, `(d, k)`, where the inputs are replaced by `U^T h`; instead of `kept`.
        ridge: lambda as a multiple of the mean variance of all d inputs.

    Returns:
        W' `(C, k)` and b' `(C,)`, in the precision of `weight` and `bias`; None for no bias.

    Raises:
        ConfigError: Not exactly one of `kept` and `basis`, or a negative ridge.
    """
    if (kept is None) == (basis is None):
        raise ConfigError("fold: exactly one of 'kept' and 'basis' must be given")
    full = weight.to(moments.scatter)
    second = moments.second_moment if bias is None else moments.covariance
    lam = ridge_of(second, ridge)
    if kept is not None:
        start = full[:, kept]
        inner = second[kept][:, kept].clone()
        inner.diagonal().add_(lam)
        cross = full @ second[:, kept] - start @ second[kept][:, kept]
        mean = moments.mean[kept]
    else:
        assert basis is not None
        basis = basis.to(full)
        gram = basis.T @ basis
        start = solve_right(full @ basis, gram)
        inner = basis.T @ second @ basis + lam * gram
        cross = (full - start @ basis.T) @ second @ basis
        mean = basis.T @ moments.mean
    new = start + solve_right(cross, inner)
    if bias is None:
        return new.to(weight), None
    shifted = bias.to(full) + full @ moments.mean - new @ mean
    return new.to(weight), shifted.to(bias)


def refit(
    weight: Tensor,
    bias: Tensor | None,
    observed: CrossMoments,
    *,
    ridge: float = 0.01,
) -> tuple[Tensor, Tensor | None]:
    """Weights that bring a layer's outputs to observed targets.

    Minimises E||W' x + b' - t||^2 + lambda ||W' - W||^2 over W' and b', for the inputs x that the
    layer has in the cut network, and targets t.

    Args:
        weight: W, `(C, k)`, the weights at hand: folded ones, or the kept columns.
        bias: `(C,)`, or None for a layer without one; its value does not matter.
        observed: Moments of x and t.
        ridge: lambda as a multiple of the mean variance of the inputs.

    Returns:
        W' and b', in the precision of `weight` and `bias`.
    """
    start = weight.to(observed.cross)
    inputs, count = observed.inputs, max(observed.inputs.count, 1)
    second, cross = inputs.covariance, observed.cross / count
    if bias is None:
        second = inputs.second_moment
        cross = cross + observed.target_mean[:, None] * inputs.mean
    inner = second.clone()
    inner.diagonal().add_(ridge_of(second, ridge))
    new = start + solve_right(cross - start @ second, inner)
    if bias is None:
        return new.to(weight), None
    return new.to(weight), (observed.target_mean - new @ inputs.mean).to(bias)
