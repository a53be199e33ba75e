"""Tokens in front of and behind each half of the transformer blocks of a network."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitsearch.elastic import ElasticBlock, ElasticLayerNorm
from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.vit.block import ElasticVitBlock
from vitsearch.training_free.base import Requirement

_BLOCKS = (ElasticBlock, ElasticVitBlock)
TRANSFORMER_BLOCKS = Requirement(
    words="transformer blocks",
    holds=lambda network: any(isinstance(module, _BLOCKS) for module in network.modules()),
)


class HalfBlock(NamedTuple):
    """A half of a block with its shortcut: x + mixer(norm(x)), or x + mlp(norm(x)).

    Attributes:
        before: (B, N, C).
        after: (B, M, C); M differs where tokens become fewer.
    """

    before: Tensor
    after: Tensor


@torch.enable_grad()
def half_blocks(network: nn.Module, images: Tensor) -> list[HalfBlock]:
    """All halves in the order of computation, in one graph, so that gradients can be pulled back.

    A half begins where its norm reads, and ends where the next one begins or the block ends.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W).
    """
    found: list[HalfBlock] = []
    with ExitStack() as hooks:
        for block in network.modules():
            if isinstance(block, _BLOCKS):
                _watch(block, found, hooks)
        network(images)
    return found


def _watch(block: nn.Module, found: list[HalfBlock], hooks: ExitStack) -> None:
    entered: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
        entered.append(args[0])

    def leave(_: nn.Module, args: tuple[Any, ...], made: Tensor | FewTokens) -> None:
        last = made.tokens if isinstance(made, FewTokens) else made
        found.extend(HalfBlock(*ends) for ends in pairwise([*entered, last]))
        entered.clear()

    for child in block.children():
        if isinstance(child, ElasticLayerNorm):
            hooks.callback(child.register_forward_pre_hook(enter).remove)
    hooks.callback(block.register_forward_hook(leave).remove)
