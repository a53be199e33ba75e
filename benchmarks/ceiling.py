"""What the machine reaches in one large matrix product: no step can do more."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.tables import Row
from benchmarks.timing import Rounds, Settings

PRODUCT = "matrix product"
_REPEATS = 8


def product(settings: Settings) -> tuple[Callable[[], None], float]:
    """Square products in the number format of the networks, and how many multiply-accumulates."""
    size = 8192 if settings.device.type == "cuda" else 1024
    left, right = (
        torch.randn(size, size, device=settings.device, dtype=settings.dtype) for _ in range(2)
    )
    found = torch.empty_like(left)

    def run() -> None:
        for _ in range(_REPEATS):
            torch.mm(left, right, out=found)

    return run, float(_REPEATS * size**3)


def add_shares(rows: list[Row], rounds: Rounds, macs: dict[str, float]) -> None:
    """Write into rows how much of the ceiling each reaches: multiply-accumulates in its time.

    Args:
        rows: With the labels of the rounds.
        rounds: The seconds; the product is among them.
        macs: Of each candidate, the product's included.
    """
    seconds_each = rounds.median(PRODUCT) / macs[PRODUCT]
    for row in rows:
        if row.label == PRODUCT:
            row.more["of the ceiling"] = f"{2e-12 / seconds_each:.2f} TFLOP/s"
        else:
            share = macs[row.label] * seconds_each / rounds.median(row.label)
            row.more["of the ceiling"] = f"{share:.2f}"
