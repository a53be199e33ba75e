"""Means and second moments of a layer's inputs, collected batch by batch.

Batches are combined by Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm
for computing sample variances": E[x^2] - mean^2 loses all digits where the mean is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]

_HALVED = 512  # numbers in a row from which halves are multiplied apart


def _as_rows(x: Tensor) -> Tensor:
    """Flatten `(..., d)` to `(n, d)`, in single precision at least."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def _centred(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows `(n, d)` less their mean; the mean; and what rounding left of it. Means in float64."""
    about = rows.mean(0)
    centred = rows - about
    # A rounded mean leaves the rows a small one of their own.
    rest = centred.mean(0)
    return centred, about.double() + rest.double(), rest.double()


def _gram(rows: Tensor) -> Tensor:
    """X^T X `(d, d)` of rows `(n, d)`; what is symmetric is computed once where that pays."""
    dim = rows.shape[1]
    if dim < _HALVED:
        return rows.T @ rows
    first, second = rows[:, : dim // 2], rows[:, dim // 2 :]
    cross = first.T @ second
    upper = torch.cat([_gram(first), cross], 1)
    return torch.cat([upper, torch.cat([cross.T, _gram(second)], 1)])


def _scatter(centred: Tensor, rest: Tensor) -> Tensor:
    """The sum of outer products `(d, d)`, float64, of rows of which a mean `rest` was left."""
    return _gram(centred).double().addr_(rest, rest, alpha=-centred.shape[0])


@dataclass(slots=True)
class Moments:
    """Count, mean and centred second moment of rows, as exact as from one large batch.

    Attributes:
        count: Number of rows seen.
        mean: `(d,)`, float64.
        scatter: Sum of the outer products of centred rows, `(d, d)`, float64.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, dim: int, *, device: torch.device | str | None = None) -> Moments:
        """Moments of no rows of `dim` numbers."""
        zeros = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        return cls(0, zeros.new_zeros(dim), zeros)

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Moments of one batch of rows `(..., d)`."""
        moments = cls.empty(rows.shape[-1], device=rows.device)
        moments.update(rows)
        return moments

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.mean.numel()

    @property
    def covariance(self) -> Tensor:
        """Biased covariance, `(d, d)`."""
        return self.scatter / max(self.count, 1)

    @property
    def second_moment(self) -> Tensor:
        """Uncentred second moment E[x x^T], `(d, d)`."""
        return self.covariance + torch.outer(self.mean, self.mean)

    def update(self, rows: Tensor, *, weight: int = 1) -> None:
        """Add rows `(..., d)`, each of them `weight` times.

        A batch is centred and multiplied in its own precision (float32 at least), and batches are
        added up in float64. Float64 rows give float64 moments, at about twice the time.
        """
        rows = _as_rows(rows)
        if not rows.shape[0]:
            return
        centred, mean, rest = _centred(rows)
        scatter = _scatter(centred, rest)
        self._add(rows.shape[0] * weight, mean, scatter if weight == 1 else scatter * weight)

    def merge(self, other: Moments) -> None:
        """Add the rows that `other` has seen, for instance in another process."""
        self._add(other.count, other.mean, other.scatter)

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        if not count:
            return
        delta = mean - self.mean
        self.scatter.add_(scatter).addr_(delta, delta, alpha=self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total

    def select(self, kept: Tensor) -> Moments:
        """Moments of the entries `kept` of each row."""
        return Moments(self.count, self.mean[kept], self.scatter[kept][:, kept])

    def transform(self, basis: Tensor) -> Moments:
        """Moments of `basis^T x` for rows x, with a basis `(d, k)`."""
        basis = basis.to(self.scatter)
        return Moments(self.count, basis.T @ self.mean, basis.T @ self.scatter @ basis)

    def state_dict(self) -> State:
        """Plain tensors to save; `from_state` reads them."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Moments:
        """Moments as `state_dict` returned them."""
        return cls(int(state["count"]), state["mean"].clone(), state["scatter"].clone())


@dataclass(slots=True)
class CrossMoments:
    """Moments of a layer's inputs `(n, k)` together with those of its targets `(n, C)`.

    All that a linear regression needs, whatever its ridge, and all that its error needs.

    Attributes:
        inputs: Moments of the inputs.
        target_mean: `(C,)`, float64.
        target_scatter: Sum of squares of the centred targets, `(C,)`, float64.
        cross: Sum of target times input, both centred, `(C, k)`, float64.
    """

    inputs: Moments
    target_mean: Tensor
    target_scatter: Tensor
    cross: Tensor

    @classmethod
    def empty(
        cls, input_dim: int, target_dim: int, *, device: torch.device | str | None = None
    ) -> CrossMoments:
        """Moments of no rows."""
        inputs = Moments.empty(input_dim, device=device)
        zeros = inputs.mean.new_zeros
        return cls(inputs, zeros(target_dim), zeros(target_dim), zeros(target_dim, input_dim))

    def update(self, inputs: Tensor, targets: Tensor, *, weight: int = 1) -> None:
        """Add inputs `(..., k)` and the targets `(..., C)` that belong to them.

        Args:
            inputs: What enters the layer.
            targets: What should leave it.
            weight: Times that each row counts. Class tokens that are added once more with a
                weight of 5 count six times as much as patch tokens.
        """
        x, t = _as_rows(inputs), _as_rows(targets)
        if not x.shape[0]:
            return
        count = x.shape[0]
        x, mean_x, rest_x = _centred(x)
        t, mean_t, rest_t = _centred(t)
        dtype = torch.promote_types(x.dtype, t.dtype)
        scatter_x = _scatter(x, rest_x)
        cross = (t.T.to(dtype) @ x.to(dtype)).double().addr_(rest_t, rest_x, alpha=-count)
        scatter_t = t.square().sum(0).double() - rest_t.square() * count
        if weight != 1:
            scatter_x, cross, scatter_t = scatter_x * weight, cross * weight, scatter_t * weight
        own = Moments(count * weight, mean_x, scatter_x)
        self._add(CrossMoments(own, mean_t, scatter_t, cross))

    def merge(self, other: CrossMoments) -> None:
        """Add the rows that `other` has seen."""
        if other.inputs.count:
            self._add(other)

    def _add(self, other: CrossMoments) -> None:
        total = self.inputs.count + other.inputs.count
        weight = self.inputs.count * other.inputs.count / total
        delta = other.target_mean - self.target_mean
        self.cross = self.cross + other.cross
        self.cross += torch.outer(delta, other.inputs.mean - self.inputs.mean) * weight
        self.target_scatter = self.target_scatter + other.target_scatter + delta.square() * weight
        self.target_mean = self.target_mean + delta * (other.inputs.count / total)
        self.inputs.merge(other.inputs)

    def error(self, weight: Tensor, bias: Tensor | None) -> float:
        """Mean over rows of ||target - weight x - bias||^2.

        Args:
            weight: `(C, k)`.
            bias: `(C,)`, or None for a layer without one.
        """
        weight = weight.to(self.cross)
        count = max(self.inputs.count, 1)
        squares = self.target_scatter.sum() - 2 * (weight * self.cross).sum()
        squares = squares + ((weight @ self.inputs.scatter) * weight).sum()
        shift = self.target_mean - weight @ self.inputs.mean
        if bias is not None:
            shift = shift - bias.to(shift)
        return float(squares / count + shift.square().sum())
