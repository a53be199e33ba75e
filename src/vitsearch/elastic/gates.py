"""A learned number for each unit of an axis, by which the weight that reads the unit is multiplied.

Layers know nothing of it: it enters where a layer is given its tensors. A network whose gates are
folded into its weights is a network without gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic.base import PLAIN, Context, ElasticModule, Taken, TiedAxis
from vitsearch.elastic.rewiring import tied_axes


class Gate(nn.Module):
    """Multiplies the units of an axis where they enter a weight.

    Attributes:
        weight: (units,).
    """

    def __init__(self, axis: TiedAxis, values: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(values)
        _, shape, dim = axis.reading
        self._name = axis.reader.rpartition(".")[2]
        self._shape = shape
        self._along = tuple(len(values) if place == dim else 1 for place in range(len(shape)))

    def spread(self, like: Tensor) -> Tensor:
        """The number that each entry of the whole weight is multiplied by, in its shape."""
        return self.weight.view(self._along).expand(self._shape).reshape(like.shape)

    def before_call(self, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A forward pre-hook of the layer that reads the units: gives it gated tensors."""
        assert isinstance(layer, ElasticModule)
        x, sizes, *rest = args
        context: Context = rest[0] if rest else PLAIN
        tensors = layer.tensors(sizes, context)
        region = layer.regions(sizes, context.alignment)[self._name]
        scale = region.cut(self.spread(getattr(layer, self._name)))
        gated = {**tensors, self._name: tensors[self._name] * scale}
        own: Taken = {(layer, sizes, context.alignment): gated}
        return x, sizes, replace(context, taken=own)


def gate_key(axis: TiedAxis) -> str:
    """What the gate of an axis is called where names cannot have dots."""
    return axis.reader.replace(".", "/")


@torch.no_grad()
def fold_gates(network: nn.Module, gates: Mapping[str, Tensor]) -> None:
    """Multiply gates into the weights that they are of.

    Args:
        network: Its weights are changed.
        gates: (units,) each, by `gate_key`.

    Raises:
        KeyError: A gate is of no weight of the network.
        ValueError: It has another number of units.
    """
    axes = {gate_key(axis): axis for axis in tied_axes(network)}
    for key, values in gates.items():
        axis = axes[key]
        if len(values) != axis.num_units:
            raise ValueError(f"the gate {key} has {len(values)} units, not {axis.num_units}")
        weight = network.get_parameter(axis.reader)
        weight.mul_(Gate(axis, values.to(weight)).spread(weight))
