"""What a mixer gives where tokens become fewer behind it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_EPS = 1e-6  # what a dropped token counts


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


def counting(counts: Tensor) -> Tensor:
    """(B, 1, 1, N) what is added to scores so that keys count as often as `counts` (B, N) says.

    Source: Token Merging (ICLR 2023), section 3, proportional attention.
    """
    return counts.log()[:, None, None, :]


def masking(decisions: Tensor) -> Tensor:
    """(B, 1, N, N) what is added to scores so that nobody but themselves sees dropped tokens.

    Args:
        decisions: (B, N) 1 for a token that goes on, 0 for one that is dropped; gradients reach
            both.

    Source: DynamicViT (NeurIPS 2021), section 3.3, attention masking.
    """
    bias = (decisions + _EPS).log()[:, None, None, :]
    itself = torch.eye(decisions.shape[1], dtype=torch.bool, device=decisions.device)
    return torch.where(itself, torch.zeros_like(bias), bias)
