"""What flows where tokens have become fewer: the tokens, and what each of them stands for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

GONE = -1
"""In place of a token that was dropped."""


class FewTokens(NamedTuple):
    """Tokens that stand for more than one patch each.

    Attributes:
        tokens: (B, N, C).
        counts: (B, N) how many tokens of those that came in were merged into each. In training a
            dropped token stays and counts 0.
        places: (B, M) for each of the M tokens that came in, prefix tokens included, the one that
            it went into; `GONE` where it was dropped.
    """

    tokens: Tensor
    counts: Tensor
    places: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> FewTokens:
        """Tokens (B, N, C) that all stand for themselves."""
        batch, count, _ = tokens.shape
        places = torch.arange(count, device=tokens.device).expand(batch, -1)
        return cls(tokens, tokens.new_ones(batch, count), places)

    def spread(self) -> Tensor:
        """(B, M, C): in the place of every token that came in, the one that it went into.

        Zeros where it was dropped.
        """
        found = taken(self.tokens, self.places.clamp(min=0))
        return found * (self.places != GONE).unsqueeze(-1).to(found.dtype)


def spread(x: Any) -> Any:
    """A token in every place (B, M, C); anything else, such as a map, as it is."""
    return x.spread() if isinstance(x, FewTokens) else x


def taken(x: Tensor, index: Tensor) -> Tensor:
    """The rows (B, K, C) of x (B, N, C) that an index (B, K) names."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
