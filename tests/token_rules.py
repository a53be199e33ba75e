"""The papers' rules by which tokens become fewer: loops over the tokens of one image."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Groups = list[list[int]]
"""For each token that is left, those that it was made of."""


def loop_merge(keys: Tensor, number: int, prefix: int, *, in_order: bool = False) -> Groups:
    """The rule of ToMe for one image: who is merged with whom."""
    first, second = range(0, len(keys), 2), range(1, len(keys), 2)
    pairs = []
    for one in first:
        if one < prefix:
            continue
        likeness = {
            other: float(torch.cosine_similarity(keys[one], keys[other], dim=0))
            for other in second
            if other >= prefix
        }
        partner = max(likeness, key=likeness.__getitem__)
        pairs.append((likeness[partner], one, partner))
    merged = {one: partner for _, one, partner in sorted(pairs, reverse=True)[:number]}
    left = [token for token in first if token not in merged] + list(second)
    if in_order:
        left.sort()
    else:
        left.sort(key=lambda token: token if token < prefix else prefix)
    return [[token, *(one for one, to in merged.items() if to == token)] for token in left]


def mean_of(x: Tensor, counts: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Tokens (N, C) and what they count, merged."""
    tokens = [(x[own] * counts[own, None]).sum(0) / counts[own].sum() for own in groups]
    return torch.stack(tokens), torch.stack([counts[own].sum() for own in groups])


def loop_keep(attention: Tensor, share: float, prefix: int) -> tuple[list[int], list[int]]:
    """The rule of EViT for one image: which tokens stay, and which are fused."""
    order = sorted(range(prefix, len(attention)), key=lambda token: -float(attention[token]))
    kept = math.ceil(share * len(order))
    return [*range(prefix), *order[:kept]], order[kept:]


def loop_vit(
    vit: Any, image: Tensor, *, merged: int = 0, kept: dict[int, float] | None = None
) -> Tensor:
    """The logits of a timm network whose tokens become fewer, for one image (C, H, W).

    Args:
        vit: timm's.
        image: (C, H, W).
        merged: r of ToMe, in every block.
        kept: Shares of EViT, by block.
    """
    prefix = vit.num_prefix_tokens
    x = vit._pos_embed(vit.patch_embed(image[None]))[0]
    counts = x.new_ones(len(x))
    for number, block in enumerate(vit.blocks):
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(x)).view(len(x), 3, heads, -1).permute(1, 2, 0, 3)
        q, k, v = qkv.unbind(0)
        scores = q @ k.mT * block.attn.scale
        if merged:
            scores = scores + counts.log()
        weights = scores.softmax(dim=-1)
        x = x + block.attn.proj((weights @ v).transpose(0, 1).flatten(1))
        if merged:
            number_here = min(merged, (len(x) - prefix) // 2)
            x, counts = mean_of(x, counts, loop_merge(k.mean(0), number_here, prefix))
        if kept and number in kept:
            attention = weights[:, 0].mean(0)
            stay, fuse = loop_keep(attention, kept[number], prefix)
            fused = (attention[fuse, None] * x[fuse]).sum(0, keepdim=True)
            x, counts = torch.cat([x[stay], fused]), counts.new_ones(len(stay) + 1)
        x = x + block.mlp(block.norm2(x))
    logits: Tensor = vit.head(vit.norm(x)[0])
    return logits
