"""Fewer dimensions for queries and keys, with the attention logits kept as close as possible.

A logit is q_i^T k_j of a query and a key of the same image. Softmax ignores a number that is added
to all logits of a query, so keys may be centred (q_i^T c is such a number for any vector c), best
image by image, and queries may not. With maps q' = A_q^T q and k' = A_k^T k the mean squared error
is ||R_q (I - A_q A_k^T) R_k||^2, where R_q^2 is the uncentred second moment of q and R_k^2 the
covariance of k, taken as independent. Its minimum at rank r is a truncated singular value
decomposition of R_q R_k (Eckart and Young, 1936).

The scale of the logits stays that of the full head: `full_dim ** -0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.elastic.calibration.moments import Moments
from vitsearch.elastic.calibration.solves import solve_right, square_roots
from vitsearch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LogitMaps:
    """Maps of one head's queries and keys, most important columns first.

    The first r columns are the maps for r dimensions; with all of them the logits are exact. They
    are folded into the layers by `A_q^T W_q`, `A_q^T b_q` and the same for keys.

    Attributes:
        queries: A_q, `(d, d)`.
        keys: A_k, `(d, d)`.
        errors: `errors[r]` is the share of the logits' variance that r dimensions lose, `(d + 1,)`.
        total: Variance of the logits over keys, before the scale is applied.
    """

    queries: Tensor
    keys: Tensor
    errors: Tensor
    total: float


def logit_maps(queries: Moments, keys: Moments) -> LogitMaps:
    """Maps whose first r columns are the best r dimensions, for every r.

    Args:
        queries: Moments of one head's queries, bias included.
        keys: Moments of its keys; of keys minus their image's mean they are most accurate.
    """
    root_q, inverse_q = square_roots(queries.second_moment)
    root_k, _ = square_roots(keys.covariance)
    left, sizes, _ = torch.linalg.svd(root_q @ root_k)
    # A_q A_k^T = R_q^-1 X X^T R_q for the leading left vectors X: no inverse of the keys' moment.
    # Queries and keys are brought to one scale, so that half precision loses neither.
    variance = sizes.clamp(min=float(sizes.max()) * 1e-6 if float(sizes.max()) > 0 else 1.0).sqrt()
    return LogitMaps(
        queries=(inverse_q @ left) * variance,
        keys=(root_q @ left) / variance,
        errors=_shares(sizes.square()),
        total=float(sizes.square().sum()),
    )


def subset_map(keys: Moments, kept: Tensor) -> Tensor:
    """The map B of queries, `(d, k)`, for keys of which only the dimensions `kept` remain.

    q^T B k_kept is closest to q^T k, whatever the queries: B = S_{:,K} S_KK^-1 with the keys'
    covariance S. For keys that may be cut and not rotated, while queries may be rotated.
    """
    covariance = keys.covariance
    return solve_right(covariance[:, kept], covariance[kept][:, kept])


def rotary_order(queries: Moments, keys: Moments, *, group_size: int = 2) -> tuple[Tensor, Tensor]:
    """Groups of dimensions in an order for cutting queries and keys alike, without any map.

    For rotary positions (`group_size` 2: pairs, adjacent) and for norms of queries and keys
    (`group_size` 1), behind which no map can be folded. Removing the dimensions R adds
    1_R^T (E[q q^T] * Cov(k)) 1_R to the error of the logits; groups are removed one by one, each
    time the cheapest.

    Args:
        queries: Moments of the queries as they enter the product, norm and rotation included;
            added up over the heads that must be cut alike.
        keys: Moments of the keys likewise.
        group_size: Adjacent dimensions that are cut only together.

    Returns:
        Group numbers, most important first, `(d / group_size,)`, and the error with the first k
        groups kept as a share of the logits' variance, `(d / group_size + 1,)`.
    """
    dim = queries.dim
    if group_size < 1 or dim % group_size:
        raise ConfigError(f"group_size: {group_size}; must divide the {dim} dimensions")
    num = dim // group_size
    cost = queries.second_moment * keys.covariance
    cost = cost.reshape(num, group_size, num, group_size).sum((1, 3))
    marginal = cost.diagonal().clone()
    alive = torch.ones(num, dtype=torch.bool, device=cost.device)
    removed, errors, error = [], [0.0], 0.0
    for _ in range(num):
        step = int(marginal.masked_fill(~alive, torch.inf).argmin())
        error += float(marginal[step])
        alive[step] = False
        removed.append(step)
        errors.append(error)
        marginal += 2 * cost[step]
    order = torch.tensor(removed[::-1], device=cost.device)
    shares = torch.tensor(errors[::-1], dtype=cost.dtype, device=cost.device)
    return order, shares / shares[0].clamp(min=1e-300)


def _shares(squares: Tensor) -> Tensor:
    """What is lost with the first r of descending squares kept, as shares, `(d + 1,)`."""
    tail = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)])
    return tail / tail[0].clamp(min=1e-300)
