"""Scores predicted from choices and costs: an ensemble of linear models by ridge least squares.

Features of an architecture: for each choice which option it takes (one of them is "inactive") and
how far along its options that is, and where its log MACs and log parameters lie between the space's
ends. Members differ by the scores that they see: each fits a bootstrap sample, so their spread says
how sure the prediction is, as that of the networks of BANANAS does (AAAI 2021, section 4). Least
squares need no training and no setting: the strength of the ridge is chosen by generalised
cross-validation (Golub, Heath and Wahba, Technometrics 1979).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vitsearch.costs.rows import Codes
from vitsearch.costs.vectorised import RowCosts
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.spaces import Architecture, SearchSpace

Numbers = npt.NDArray[np.float64]
_COSTS = ("macs", "params")
_RIDGES = tuple(10 ** (power / 2) for power in range(-8, 9))
_DIGITS = 9


class RidgeEnsemble:
    """Predicts scores of architectures of one space.

    Attributes:
        space: Where they are.
        members: How many linear models.
    """

    def __init__(
        self, space: SearchSpace, *, members: int = 10, num_classes: int = 1000, seed: int = 0
    ) -> None:
        """Set up a predictor.

        Args:
            space: Of the architectures.
            members: How many linear models.
            num_classes: Of the classifier, whose cost counts.
            seed: Of the bootstrap samples.

        Raises:
            ConfigError: `members` or `seed` is out of range.
        """
        self.space = space
        self.members = check_whole("members", members, 1)
        self._seed = check_whole("seed", seed, 0, 2**32 - 1)
        self._features = _Features(space, num_classes)
        self._weights: Numbers | None = None  # (members, F)
        self._level: Numbers = np.zeros(members)
        self._unit = 1.0

    def fit(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> RidgeEnsemble:
        """Learn from scored architectures, in place of what was learnt before.

        Args:
            architectures: At least one.
            scores: Of each of them.

        Returns:
            Itself.

        Raises:
            ConfigError: There is no score, or one is not finite.
        """
        assert len(architectures) == len(scores), (len(architectures), len(scores))
        known = np.asarray(scores, dtype=np.float64)
        finite = int(np.isfinite(known).sum())
        if not finite or finite < len(known):
            raise ConfigError(
                f"scores: {finite} of {len(known)} are finite; a predictor learns from one finite "
                f"score or more, and from no other"
            )
        rows, stretch = _weigh_costs(self._features.rows(architectures))
        # numpy guarantees the numbers of RandomState for ever, those of a Generator it does not.
        numbers = np.random.RandomState(self._seed)
        ridge = _best_ridge(rows, known)
        fitted = []
        for _ in range(self.members):
            drawn = numbers.randint(0, len(known), len(known))
            fitted.append(_fit(rows, known, np.bincount(drawn, minlength=len(known)), ridge))
        self._weights = np.stack([weights * stretch for weights, _ in fitted])
        self._level = np.array([level for _, level in fitted])
        spread = float(known.std())
        self._unit = 2.0 ** np.floor(np.log2(spread)) if spread > 0 else 1.0
        return self

    def predict(self, architectures: Sequence[Architecture]) -> Numbers:
        """Scores as each member predicts them.

        Args:
            architectures: Those in question, n of them.

        Returns:
            Array (members, n), rounded to about 1e-9 of the spread of the known scores: the last
            bits of sums differ between machines, and all processes must choose the same.
        """
        assert self._weights is not None, "fit first"
        sums = self._features.products(architectures, self._weights) + self._level[:, None]
        predicted: Numbers = np.round(sums / self._unit, _DIGITS) * self._unit
        return predicted


class _Features:
    """Architectures as rows of numbers."""

    def __init__(self, space: SearchSpace, num_classes: int) -> None:
        self._costs = RowCosts(space, num_classes)
        self._format = self._costs.format
        self._features = [
            (place, _of_options(len(choice.options)))
            for place, choice in enumerate(space.choices)
            if self._format.varies(choice.name)
        ]
        ends = [
            [
                space.extreme(metric, largest=largest, num_classes=num_classes)[1][metric]
                for metric in _COSTS
            ]
            for largest in (False, True)
        ]
        self._low, high = np.log(np.maximum(ends, 1))
        spread = high - self._low
        self._spread = np.where(spread > 0, spread, 1.0)

    def rows(self, architectures: Sequence[Architecture]) -> Numbers:
        """Features (n, F)."""
        codes = self._format.encode(architectures)
        columns = [features[codes[place]] for place, features in self._features]
        return np.concatenate([*columns, self._shares(codes)], axis=1)

    def products(self, architectures: Sequence[Architecture], weights: Numbers) -> Numbers:
        """`weights @ rows.T` for weights (m, F), without the rows: (m, n)."""
        codes = self._format.encode(architectures)
        total = weights[:, -len(_COSTS) :] @ self._shares(codes).T
        start = 0
        for place, features in self._features:
            own = weights[:, start : start + features.shape[1]] @ features.T
            total += own[:, codes[place]]
            start += features.shape[1]
        return total

    def _shares(self, codes: Codes) -> Numbers:
        """(n, 2): where costs lie between the space's ends."""
        costs = dict(zip(self._costs.metrics, self._costs.costs(codes).T, strict=True))
        logs = np.log(np.maximum(np.stack([costs[metric] for metric in _COSTS], axis=1), 1))
        shares: Numbers = (logs - self._low) / self._spread
        return shares


def _of_options(count: int) -> Numbers:
    """(count + 1, count + 2): for each code which option it is, and how far along them."""
    share = np.append(np.arange(count) / max(count - 1, 1), 0.5)  # the last code is "inactive"
    return np.concatenate([np.eye(count + 1), share[:, None]], axis=1)


def _weigh_costs(rows: Numbers) -> tuple[Numbers, Numbers]:
    """The rows (n, F) with costs stretched, and by what each column is (F,).

    Each cost varies as much as all choices together. A ridge makes small what varies little, and
    few scores would otherwise teach hundreds of choices before the two numbers that say the most.
    """
    spread = rows.var(axis=0)
    stretch = np.ones(rows.shape[1])
    costs = slice(-len(_COSTS), None)
    choices = float(spread[: -len(_COSTS)].sum())
    varying = spread[costs] > 1e-12
    stretch[costs] = np.sqrt(choices / np.where(varying, spread[costs], 1.0)) * varying
    return rows * stretch, stretch


def _fit(
    rows: Numbers, scores: Numbers, counts: npt.NDArray[np.int64], ridge: float
) -> tuple[Numbers, float]:
    """Weights (F,) and level of a linear model, for scores that count `counts` times.

    There are more features than scores as a rule, so the dual system (n, n) is solved.
    """
    mean_row, mean = (counts @ rows) / len(rows), float(counts @ scores) / len(rows)
    root = np.sqrt(counts)
    centred = root[:, None] * (rows - mean_row)
    kernel = centred @ centred.T
    strength = ridge * _scale(np.diag(kernel))
    dual = np.linalg.solve(kernel + strength * np.eye(len(rows)), root * (scores - mean))
    weights = centred.T @ dual
    return weights, mean - float(weights @ mean_row)


def _best_ridge(rows: Numbers, scores: Numbers) -> float:
    """Strength, as a share of the features' mean square, by generalised cross-validation."""
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values, 0)
    parts = (vectors.T @ (scores - scores.mean())) ** 2
    parts /= max(float(parts.sum()), 1e-300)
    scale, errors = _scale(values), dict[float, float]()
    for ridge in _RIDGES:
        left = ridge * scale / (values + ridge * scale)
        free = max(float(left.sum()) - 1, 1e-12)  # the level takes one degree of freedom
        errors[ridge] = round(float(left**2 @ parts) / free**2, _DIGITS)
    return min(sorted(errors, reverse=True), key=errors.__getitem__)  # of equals the strongest


def _scale(values: Numbers) -> float:
    return max(float(values.mean()), 1e-12)
