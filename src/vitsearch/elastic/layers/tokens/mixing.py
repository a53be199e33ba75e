"""What a mixer gives where tokens become fewer behind it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Mixed(NamedTuple):
    """What a mixer adds to the tokens, and by what tokens can be compared.

    Attributes:
        added: (B, N, C).
        queries: (B, heads, N, d); `None` without attention.
        keys: (B, heads, N, d); `None` without attention.
    """

    added: Tensor
    queries: Tensor | None
    keys: Tensor | None


def bias_of(counts: Tensor | None) -> Tensor | None:
    """(B, 1, 1, N) what is added to scores so that keys count as often as they have patches.

    Source: Token Merging (ICLR 2023), section 3, proportional attention.
    """
    return None if counts is None else counts.log()[:, None, None, :]
