"""How tokens become fewer: which go on, and which are added to others.

Sources: Token Merging (ICLR 2023), section 3; EViT (ICLR 2022), section 3; DynamicViT (NeurIPS
2021), section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic.layers.tokens.flow import GONE, FewTokens, taken


class Reduction(NamedTuple):
    """What becomes of N tokens; the same can be done to any (B, N, C).

    Attributes:
        going_on: (B, K) the tokens that go on, in their new order.
        added: (B, R) those that are added to one that goes on.
        into: (B, R) to which, by its new number; K is an empty token behind all others.
        shares: (B, N) what a token counts in the sum that it is part of.
        fuses: Whether there is that empty token.
    """

    going_on: Tensor
    added: Tensor
    into: Tensor
    shares: Tensor
    fuses: bool

    def apply(self, x: Tensor) -> Tensor:
        """(B, N, C) to fewer tokens."""
        weighted = x * self.shares.unsqueeze(-1).to(x.dtype)
        kept = taken(weighted, self.going_on)
        if self.fuses:
            kept = F.pad(kept, (0, 0, 0, 1))
        index = self.into.unsqueeze(-1).expand(-1, -1, x.shape[-1])
        return kept.scatter_add(1, index, taken(weighted, self.added))

    def places(self, places: Tensor) -> Tensor:
        """Where tokens are that were at `places` (B, M)."""
        moved = torch.full_like(self.shares, GONE, dtype=torch.long)
        order = torch.arange(self.going_on.shape[1], device=moved.device)
        moved = moved.scatter(1, self.going_on, order.expand_as(self.going_on))
        moved = moved.scatter(1, self.added, self.into).gather(1, places.clamp(min=0))
        return moved.where(places != GONE, GONE)

    def __call__(self, flow: FewTokens, *, counts: bool = True) -> FewTokens:
        """Tokens, what they count, and where they are; without `counts` each counts as one."""
        tokens = self.apply(flow.tokens)
        if not counts:
            return FewTokens(tokens, tokens.new_ones(tokens.shape[:2]), self.places(flow.places))
        kept = flow.counts.gather(1, self.going_on)
        counted = kept.scatter_add(1, self.into, flow.counts.gather(1, self.added))
        return FewTokens(tokens, counted, self.places(flow.places))


def most_similar(
    keys: Tensor, counts: Tensor, number: int, num_prefix_tokens: int, *, in_order: bool
) -> Reduction:
    """Merge pairs of tokens: each of the first set has a partner in the second, the best go.

    Tokens fall into two sets by turns. Of a pair the mean is left, in which a token counts as often
    as it has patches.

    Args:
        keys: (B, N, d) by whose cosine tokens are compared.
        counts: (B, N) what each stands for.
        number: r, how many pairs merge.
        num_prefix_tokens: So many first tokens never merge.
        in_order: Whether tokens keep their order; if not, those of the first set stand before
            those of the second, both behind the prefix.
    """
    keys = F.normalize(keys.detach(), dim=-1)
    scores = keys[:, ::2] @ keys[:, 1::2].mT
    first, second = (num_prefix_tokens + 1) // 2, num_prefix_tokens // 2
    scores[:, :first] = -torch.inf
    scores[:, :, :second] = -torch.inf
    best, partner = scores.max(dim=-1)
    ranked = best.topk(best.shape[1], dim=-1).indices
    merging, staying = ranked[:, :number], ranked[:, number:].sort(dim=-1).values
    added, target = 2 * merging, 2 * partner.gather(1, merging) + 1
    others = torch.arange(1, keys.shape[1], 2, device=keys.device).expand(keys.shape[0], -1)
    going_on = torch.cat([2 * staying, others], dim=1)
    if in_order:
        going_on = going_on.sort(dim=-1).values
    elif num_prefix_tokens > 1:
        mixed = [going_on[:, i // 2 + i % 2 * staying.shape[1]] for i in range(num_prefix_tokens)]
        rest = going_on[:, first : staying.shape[1]], others[:, second:]
        going_on = torch.cat([torch.stack(mixed, dim=1), *rest], dim=1)
    moved = torch.zeros_like(counts, dtype=torch.long)
    order = torch.arange(going_on.shape[1], device=moved.device).expand_as(going_on)
    into = moved.scatter(1, going_on, order).gather(1, target)
    total = counts.scatter_add(1, target, counts.gather(1, added))
    shares = counts / total.scatter(1, added, total.gather(1, target))
    return Reduction(going_on, added, into, shares, fuses=False)


def best_scored(scores: Tensor, number: int, num_prefix_tokens: int) -> Reduction:
    """Keep the patch tokens with the best scores, in their order; the others are gone.

    Args:
        scores: (B, n) of patch tokens.
        number: k, how many stay.
        num_prefix_tokens: So many first tokens stay besides.
    """
    kept = scores.topk(number, dim=-1).indices + num_prefix_tokens
    prefix = torch.arange(num_prefix_tokens, device=kept.device).expand(kept.shape[0], -1)
    none = kept[:, :0]
    shares = scores.new_ones(kept.shape[0], scores.shape[1] + num_prefix_tokens)
    return Reduction(torch.cat([prefix, kept], dim=1), none, none, shares, fuses=False)


def most_attended(attention: Tensor, number: int, num_prefix_tokens: int) -> Reduction:
    """Keep the tokens that get the most attention, in its order, and add up the others.

    In the sum a token counts by the attention that it gets.

    Args:
        attention: (B, N) of the class token.
        number: k, how many tokens stay besides the prefix.
        num_prefix_tokens: So many first tokens always stay.
    """
    patches = attention[:, num_prefix_tokens:]
    ranked = patches.topk(patches.shape[1], dim=-1).indices + num_prefix_tokens
    prefix = torch.arange(num_prefix_tokens, device=ranked.device).expand(ranked.shape[0], -1)
    going_on, added = torch.cat([prefix, ranked[:, :number]], dim=1), ranked[:, number:]
    into = torch.full_like(added, num_prefix_tokens + number)
    shares = torch.ones_like(attention).scatter(1, added, attention.gather(1, added))
    return Reduction(going_on, added, into, shares, fuses=True)
