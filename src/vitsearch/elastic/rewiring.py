"""Rewiring: heads and hidden units in the order of their importance, the function unchanged.

A sub-network takes the first units of a layer, so the most important ones should come first.
Swapping two units, in the rows that make them and the columns that use them, leaves the largest
network as it was; the smaller ones then keep what matters.

Source: Searching for Efficient Multi-Stage Vision Transformers (2021), section 3.3; the importance
is that of Once-for-All (2020), section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitsearch.elastic.base import ElasticModule, TiedAxis

NO_WEIGHTS = ("running_mean", "running_var", ".pairs")
"""Tensors that follow their units and say nothing of their importance."""


@dataclass(frozen=True, slots=True)
class Reordering:
    """New places for the units of one layer.

    Attributes:
        axis: Which tensors hold the units, by names in the network, and where.
        order: (units,) for each new place the old one; (groups, units) where the axis has groups.
    """

    axis: TiedAxis
    order: Tensor

    def apply(self, tensors: Mapping[str, Tensor]) -> None:
        """Reorder tensors in place; names that are not there are passed over."""
        for index, (name, shape, dim) in enumerate(self.axis.places):
            if name not in tensors:
                continue
            tensor = tensors[name]
            order = self.order.to(tensor.device)
            if self.axis.groups:
                spread = [1] * len(shape)
                spread[self.axis.groups[index]], spread[dim] = order.shape
                moved = tensor.view(shape).take_along_dim(order.view(spread), dim)
            else:
                moved = tensor.view(shape).index_select(dim, order)
            tensor.copy_(moved.view_as(tensor))


def tied_axes(network: nn.Module) -> Iterator[TiedAxis]:
    """Every group of units of a network that can trade places, by names in the network."""
    for path, module in network.named_modules():
        if isinstance(module, ElasticModule):
            for axis in module.tied_axes():
                yield axis.below(path)


@torch.no_grad()
def importance(axis: TiedAxis, tensors: Mapping[str, Tensor], *, power: int = 1) -> Tensor:
    """(units,) sums of absolute weights and biases to a power, in and out."""
    total: Tensor | None = None
    for name, shape, dim in axis.places:
        if name in tensors and not name.endswith(NO_WEIGHTS):
            sizes = tensors[name].detach().view(shape).abs().double()
            sizes = sizes if power == 1 else sizes.pow(power)
            added = sizes.transpose(0, dim).flatten(1).sum(dim=1) if sizes.dim() > 1 else sizes
            total = added if total is None else total + added
    assert total is not None, axis
    return total


@torch.no_grad()
def rewire(network: nn.Module) -> list[Reordering]:
    """Put the most important heads and hidden units of every layer first.

    The largest network's outputs stay the same. What else holds a number for each weight
    (an optimiser's moments, averaged weights) has to be reordered alike.

    Args:
        network: A super-transformer; it is changed.

    Returns:
        What was reordered.
    """
    tensors = network.state_dict(keep_vars=True)
    found = []
    for axis in tied_axes(network):
        order = importance(axis, tensors).argsort(descending=True, stable=True)
        reordering = Reordering(axis, order)
        reordering.apply({name: tensor.data for name, tensor in tensors.items()})
        found.append(reordering)
    return found
