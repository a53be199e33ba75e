"""Orders of a layer's inputs, most important first: every prefix is a size that may be kept.

A layer W with inputs h of covariance S is judged after its repair. Let A = S + lambda I. If the
inputs K are kept, the repaired layer's error is the trace of W A_{|K} W^T, with the covariance of
h conditional on K, so one more input j reduces it by ||W A_{:,j|K}||^2 / A_{jj|K}: a Cholesky
factorisation whose pivot is the input of largest gain (`forward_order`). From the other end, with
all inputs kept, removing j costs ||W'_j||^2 / (A_KK^-1)_jj, where W' are the repaired weights
(`backward_order`): Hassibi and Stork (1993), "Second order derivatives for network pruning:
Optimal Brain Surgeon", for a layer. Both recursions are the same rank-1 update.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.elastic.calibration.moments import Moments
from vitsearch.elastic.calibration.solves import factorise, ridge_of
from vitsearch.errors import ConfigError

_POOL = 4  # candidates of a block, as a multiple of its size


@dataclass(frozen=True, slots=True)
class UnitOrder:
    """Units by importance, and the error that a repaired prefix of them leaves.

    Attributes:
        units: Unit numbers, most important first, `(u,)`. A unit is `group_size` adjacent inputs.
        errors: `errors[k]` is the error with the first k units kept, as a share of the error with
            none kept, `(u + 1,)`, float64; the ridge is part of it.
        total: Error with no unit kept: the variance of the layer's outputs, summed over them.
        group_size: Inputs of a unit.
    """

    units: Tensor
    errors: Tensor
    total: float
    group_size: int = 1

    def inputs(self, size: int | None = None) -> Tensor:
        """Indices of the inputs of the first `size` units (all by default)."""
        first = self.units[:size]
        within = torch.arange(self.group_size, device=first.device)
        return (first[:, None] * self.group_size + within).flatten()


def variance_order(weight: Tensor, moments: Moments, *, group_size: int = 1) -> Tensor:
    """Unit numbers by the variance that each adds to the outputs, largest first.

    Args:
        weight: `(C, d)`.
        moments: Moments of the layer's inputs.
        group_size: Inputs of a unit: 1, or a head's width for heads.

    Returns:
        `(d / group_size,)`, by trace(W_u Cov(h_u) W_u^T). What units share is counted twice.
    """
    weight, covariance = weight.to(moments.scatter), moments.covariance
    num_units = _num_units(moments.dim, group_size)
    columns = weight.reshape(-1, num_units, group_size).transpose(0, 1)
    blocks = _diagonal_blocks(covariance, num_units, group_size)
    scores: Tensor = ((columns @ blocks) * columns).sum((1, 2))
    return scores.argsort(descending=True, stable=True)


def forward_order(
    weight: Tensor,
    moments: Moments,
    *,
    ridge: float = 0.01,
    group_size: int = 1,
    block: int = 8,
    dtype: torch.dtype = torch.float32,
) -> UnitOrder:
    """Order in which each next unit most reduces the error of the repaired layer.

    Args:
        weight: `(C, d)`; multiply it by LayerScale where a branch has one.
        moments: Moments of the layer's inputs.
        ridge: lambda as a multiple of the mean variance.
        group_size: Inputs of a unit: 1, or a head's width for heads.
        block: Single inputs are chosen `block` at a time, each with regard to those before it, out
            of the `4 * block` that are best at the start of the block; 1 is the exact greedy order.
        dtype: Precision of the recursion.
    """
    matrix = _regularised(moments, ridge, dtype)
    left = weight.to(matrix) @ matrix
    total = float((left * weight.to(matrix)).sum())
    units, gains = _sweep(
        matrix.to(dtype), left.to(dtype), group_size=group_size, block=block, largest=True
    )
    errors = torch.cat([gains.new_zeros(1), gains.cumsum(0)]).neg() + total
    return UnitOrder(units, (errors / max(total, 1e-300)).clamp(min=0), total, group_size)


def backward_order(
    weight: Tensor,
    moments: Moments,
    *,
    ridge: float = 0.01,
    group_size: int = 1,
    block: int = 8,
    dtype: torch.dtype = torch.float32,
) -> UnitOrder:
    """Order from which each last unit is the one whose removal costs the repaired layer least.

    Arguments as for `forward_order`; `ridge` must be above 0 where inputs depend on each other.

    Raises:
        ConfigError: The covariance is singular and there is no ridge.
    """
    matrix = _regularised(moments, ridge, dtype)
    left = weight.to(matrix)
    total = float(((left @ matrix) * left).sum())
    factor = factorise(matrix)
    if factor is None:
        raise ConfigError(f"ridge: {ridge}; must be above 0 where inputs depend on each other")
    inverse = torch.cholesky_inverse(factor)
    units, costs = _sweep(
        inverse.to(dtype), left.to(dtype), group_size=group_size, block=block, largest=False
    )
    errors = torch.cat([costs.new_zeros(1), costs.cumsum(0)]).flip(0)
    return UnitOrder(units.flip(0), errors / max(total, 1e-300), total, group_size)


def _regularised(moments: Moments, ridge: float, dtype: torch.dtype) -> Tensor:
    matrix = moments.covariance
    mean = float(matrix.diagonal().mean())
    # Rounding must not make a conditional variance negative, nor constant inputs divide by zero.
    floor = 16 * torch.finfo(dtype).eps * mean if mean > 0 else 1.0
    matrix.diagonal().add_(max(ridge_of(matrix, ridge), floor))
    return matrix


def _num_units(dim: int, group_size: int) -> int:
    if group_size < 1 or dim % group_size:
        raise ConfigError(f"group_size: {group_size}; must divide the {dim} inputs")
    return dim // group_size


def _diagonal_blocks(matrix: Tensor, num_units: int, group_size: int) -> Tensor:
    """Blocks of one unit each, `(u, g, g)`."""
    blocks = matrix.reshape(num_units, group_size, num_units, group_size)
    return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def _sweep(
    matrix: Tensor, left: Tensor, *, group_size: int, block: int, largest: bool
) -> tuple[Tensor, Tensor]:
    """Eliminate units from `matrix`, at each step the one of largest or smallest value.

    The value of a unit u is trace(left_u matrix_uu^-1 left_u^T).

    Returns:
        Units in the order of their elimination, and the value of each one then, in float64.
    """
    num_units = _num_units(len(matrix), group_size)
    matrix, left = matrix.clone(), left.clone()  # changed in place below
    block = 1 if group_size > 1 else max(block, 1)
    alive = torch.arange(num_units, device=matrix.device)
    gone = torch.zeros(num_units, dtype=torch.bool, device=matrix.device)
    units: list[int] = []
    values: list[Tensor] = []
    while len(units) < num_units:
        if 2 * int(gone.sum()) > len(gone):  # what is eliminated costs no more time
            rest = _members((~gone).nonzero()[:, 0], group_size)
            matrix, left = matrix[rest][:, rest].contiguous(), left[:, rest].contiguous()
            alive, gone = alive[~gone], gone[~gone]
        chosen = _best(matrix, left, gone, group_size=group_size, block=block, largest=largest)
        members = _members(chosen, group_size)
        root = torch.linalg.cholesky_ex(matrix[members][:, members])[0]
        columns = torch.linalg.solve_triangular(root, matrix[members], upper=False)
        outputs = torch.linalg.solve_triangular(root, left[:, members].T, upper=False)
        matrix.addmm_(columns.T, columns, alpha=-1)
        left.addmm_(outputs.T, columns, alpha=-1)
        units += alive[chosen].tolist()
        values.append(outputs.double().square().sum(1).view(-1, group_size).sum(1))
        gone[chosen] = True
    return torch.tensor(units, device=matrix.device), torch.cat(values)


def _members(units: Tensor, group_size: int) -> Tensor:
    within = torch.arange(group_size, device=units.device)
    return (units[:, None] * group_size + within).flatten()


def _best(
    matrix: Tensor, left: Tensor, gone: Tensor, *, group_size: int, block: int, largest: bool
) -> Tensor:
    """The next `block` units to eliminate."""
    sign = 1.0 if largest else -1.0
    if group_size > 1:
        blocks = _diagonal_blocks(matrix, len(gone), group_size).clone()
        blocks[gone] = torch.eye(group_size, dtype=matrix.dtype, device=matrix.device)
        columns = left.reshape(-1, len(gone), group_size).permute(1, 2, 0)
        root = torch.linalg.cholesky_ex(blocks)[0]
        value = torch.linalg.solve_triangular(root, columns, upper=False).square().sum((1, 2))
        return _masked(value * sign, gone).argmax()[None]
    value = left.square().sum(0) / matrix.diagonal().clamp(min=torch.finfo(matrix.dtype).tiny)
    remaining = int((~gone).sum())
    block = min(block, remaining)
    if block == 1:
        return _masked(value * sign, gone).argmax()[None]
    pool = _masked(value * sign, gone).topk(min(_POOL * block, remaining)).indices
    small, outputs = matrix[pool][:, pool], left[:, pool].clone()
    # Only inner products of the outputs matter, and the pool is smaller than the number of outputs.
    inner = outputs.T @ outputs
    used = torch.zeros(len(pool), dtype=torch.bool, device=matrix.device)
    chosen = []
    for _ in range(block):
        value = inner.diagonal() / small.diagonal().clamp(min=torch.finfo(small.dtype).tiny)
        step = int(_masked(value * sign, used).argmax())
        used[step] = True
        chosen.append(step)
        column = small[:, step] / small[step, step]
        # outputs -= outputs_step column^T, for the inner products
        moved = torch.outer(inner[:, step], column)
        inner = inner - moved - moved.T + inner[step, step] * torch.outer(column, column)
        small = small - torch.outer(column, column) * small[step, step]
    return pool[torch.tensor(chosen, device=pool.device)]


def _masked(value: Tensor, gone: Tensor) -> Tensor:
    return value.masked_fill(gone, -torch.inf)
