"""Fewer dimensions for queries and keys, with the attention logits kept as close as possible.

A logit is q_i^T k_j of a query and a key of the same image. Softmax ignores a number that is added
to all logits of a query, so keys may be centred (q_i^T c is such a number for any vector c), best
image by image, and queries may not. With maps q' = A_q^T q and k' = A_k^T k the mean squared error
is ||R_q (I - A_q A_k^T) R_k||^2, where R_q^2 is the uncentred second moment of q and R_k^2 the
covariance of k, taken as independent. Its minimum at rank r is a truncated singular value
decomposition of R_q R_k (Eckart and Young, 1936).

Queries and keys that are rotated by their positions (rope) lose whole pairs of channels. The maps
that commute with every rotation turn and stretch each pair by itself, as a product with a complex
number does. So the pairs that stay get such factors (`PairFactors`), by least squares of the
logits.

The scale of the logits stays that of the full head: `full_dim ** -0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.elastic.calibration.moments import Moments
from vitsearch.elastic.calibration.solves import ridge_of, solve_right, square_roots
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


def rotary_order(queries: Moments, keys: Moments, *, group_size: int = 2) -> tuple[Tensor, Tensor]:
    """Groups of dimensions in an order for cutting queries and keys alike, without any map.

    For rotary positions (`group_size` 2: pairs, adjacent). Removing the dimensions R adds
    1_R^T (E[q q^T] * Cov(k)) 1_R to the error of the logits, before any factor makes up for them;
    groups are removed one by one, each time the cheapest.

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


@dataclass(frozen=True, slots=True)
class PairFactors:
    """The logits of one head as sums over pairs of channels, in second moments.

    A pair adds the product of its query and key, and with a factor a + ib times that of the query
    turned by 90 degrees, too: 2 P features of a logit for P pairs.

    Attributes:
        gram: (2 P, 2 P) second moments of the features: the products of all pairs, then those of
            the turned queries.
    """

    gram: Tensor

    @classmethod
    def of(cls, queries: Moments, keys: Moments) -> PairFactors:
        """Of queries and keys as they enter the product, the channels of a pair side by side."""
        pairs = queries.dim // 2
        shape = (pairs, 2, pairs, 2)
        own = queries.second_moment.view(shape)
        other = keys.covariance.view(shape)
        # The turned query (-q1, q0) makes q0 k1 - q1 k0: keys trade places, with a sign.
        sign = other.new_tensor([1.0, -1.0])
        turned = other.flip(3) * sign
        both = turned.flip(1) * sign[:, None, None]
        plain, crossed, squares = ((own * k).sum((1, 3)) for k in (other, turned, both))
        return cls(torch.cat([torch.cat([plain, crossed], 1), torch.cat([crossed.T, squares], 1)]))

    def first(self, count: int, *, ridge: float) -> Tensor:
        """(count, 2, 2) what the queries of the first pairs are multiplied by if others go.

        Args:
            count: Of pairs that stay.
            ridge: Of the mean square of a feature; draws the factors to 1.
        """
        pairs = len(self.gram) // 2
        kept = torch.arange(count, device=self.gram.device)
        kept = torch.cat([kept, kept + pairs])
        matrix = self.gram[kept][:, kept]
        matrix.diagonal().add_(ridge_of(matrix, ridge))
        missing = self.gram[kept, count:pairs].sum(1)  # by what the pairs that go have in common
        change = solve_right(missing[None], matrix)[0]
        real, imaginary = change[:count] + 1, change[count:]
        return torch.stack([real, -imaginary, imaginary, real], 1).view(count, 2, 2)


def _shares(squares: Tensor) -> Tensor:
    """What is lost with the first r of descending squares kept, as shares, `(d + 1,)`."""
    tail = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)])
    return tail / tail[0].clamp(min=1e-300)
