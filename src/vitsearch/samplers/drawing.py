"""Random architectures by the thousand, as rows of numbers (see `vitsearch.costs.rows`)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from vitsearch.costs import Constraint, CostModel
from vitsearch.costs.rows import Codes, RowFormat
from vitsearch.spaces import Architecture

_FIRST, _MOST = 256, 4096  # rows drawn at once: few where few are asked for


def bit_generator(rng: random.Random) -> np.random.PCG64:
    """Random bits that follow from the state of `rng`."""
    return np.random.PCG64(rng.getrandbits(64))


def draw_rows(rows: RowFormat, n: int, bits: np.random.PCG64) -> Codes:
    """`n` rows with the distribution of `space.sample`: each active choice drawn by its weights.

    Row after row takes its numbers from `bits`, so that two draws of one row are one draw of two.
    """
    choices = rows.space.choices
    # numpy promises the same raw bits in all its versions, but not the same random numbers.
    raw = bits.random_raw(n * len(choices)).reshape(n, len(choices))
    uniform = np.ascontiguousarray((raw >> np.uint64(11)).T) * 2.0**-53
    counts = np.array([[len(choice.options)] for choice in choices])
    codes = (uniform * counts).astype(np.int64)
    for index, choice in enumerate(choices):
        if choice.weights is not None:
            ends = np.cumsum(choice.weights)
            drawn = np.searchsorted(ends, uniform[index] * ends[-1], side="right")
            codes[index] = np.minimum(drawn, len(choice.options) - 1)
    return rows.drop_inactive(codes)


def drawn_within(
    model: CostModel, constraint: Constraint, tries: int, rng: random.Random
) -> Iterator[Architecture]:
    """The distinct ones inside a budget of `tries` random architectures, in the order drawn."""
    bits, seen, size = bit_generator(rng), set[bytes](), _FIRST
    while tries > 0:
        codes = draw_rows(model.rows.format, min(size, tries), bits)
        costs = dict(zip(model.rows.metrics, model.rows.costs(codes).T, strict=True))
        inside = np.ones(codes.shape[1], dtype=np.bool_)
        for metric, (low, high) in constraint.windows().items():
            inside &= (low <= costs[metric]) & (costs[metric] <= high)
        for row in np.ascontiguousarray(codes.T[inside]):
            if (key := row.tobytes()) not in seen:
                seen.add(key)
                yield model.rows.format.decode(row.tolist())
        tries -= size
        size = min(2 * size, _MOST)
