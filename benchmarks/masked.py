"""The peer's way, for comparison: full width for everyone, and masks on what is not theirs.

Every image passes through the whole supernet; after each linear layer the channels that its
architecture has not are multiplied by zero. It is a stand-in for cost only: norms see all channels,
so the outputs are not those of the sub-networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch import Architecture, SuperTransformer
from vitsearch.elastic import ElasticLinear, ElasticModule


class MaskedStep:
    """A super-transformer that runs several architectures at the price of its largest, by masks."""

    def __init__(self, net: SuperTransformer, architectures: Sequence[Architecture]) -> None:
        self.net = net
        device = next(net.parameters()).device
        count = len(architectures)
        self._masks = {
            module: torch.zeros(count, module.out_features, device=device)
            for module in net.modules()
            if isinstance(module, ElasticLinear) and module.bias is not None
        }
        for number, architecture in enumerate(architectures):
            for layer, sizes in net.layers(net.space.plan(architecture)):
                for module, own in _linears(layer, sizes):
                    if module in self._masks:
                        region = module.regions(own)["bias"]
                        ones = torch.ones_like(region.cut(self._masks[module][number]))
                        region.add(self._masks[module][number], ones)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, classes)."""
        hooks = [
            module.register_forward_hook(_masking(mask))
            for module, mask in self._masks.items()
            if module is not self.net.head
        ]
        try:
            return self.net(images)  # type: ignore[no-any-return]
        finally:
            for hook in hooks:
                hook.remove()


def _masking(mask: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        own = mask.repeat_interleave(len(output) // len(mask), dim=0)
        return output * own.view(len(output), *[1] * (output.dim() - 2), -1)

    return hook


def _linears(module: ElasticModule[Any], sizes: Any) -> Iterator[tuple[ElasticLinear, Any]]:
    if isinstance(module, ElasticLinear):
        yield module, sizes
    for name, below in module.children_sizes(sizes).items():
        child = module.get_submodule(name)
        assert isinstance(child, ElasticModule)
        yield from _linears(child, below)
