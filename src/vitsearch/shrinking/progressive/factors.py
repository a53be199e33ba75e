"""The number that says how much a unit matters: the weight of its BatchNorm, or a learned gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic import TiedAxis
from vitsearch.elastic.gates import Gate, fold_gates, gate_key


class Factors(nn.Module):
    """The factors of all units of a network, and the penalty on them.

    Called with the network, it is the penalty `rho * sum_i w_i |factor_i|`.

    Attributes:
        gates: By the weight that they multiply, with `/` for dots; of axes without a BatchNorm.
        rho: The strength of the penalty.
        weights: Of a unit in the penalty, for each choice.
    """

    def __init__(self, axes: Mapping[str, Sequence[TiedAxis]], like: Tensor) -> None:
        """Make gates of 1.

        Args:
            axes: Those that each choice counts.
            like: A weight of the network, for number format and device.
        """
        super().__init__()
        self.axes = {choice: tuple(own) for choice, own in axes.items()}
        self.rho = 0.0
        self.weights: dict[str, float] = {}
        self._spread: Tensor | None = None  # the weight of every unit, in order
        self.gates = nn.ModuleDict()
        for axis in self._gated_axes():
            ones = torch.ones(axis.num_units, device=like.device, dtype=like.dtype)
            self.gates[gate_key(axis)] = Gate(axis, ones)
        self._hooks: list[Any] = []

    def all_axes(self) -> Iterator[TiedAxis]:
        """The axes of all choices."""
        for own in self.axes.values():
            yield from own

    def _gated_axes(self) -> Iterator[TiedAxis]:
        return (axis for axis in self.all_axes() if axis.norm is None)

    def gate(self, axis: TiedAxis) -> Gate:
        """The gate of an axis without a BatchNorm."""
        found = self.gates[gate_key(axis)]
        assert isinstance(found, Gate)
        return found

    def attach(self, net: nn.Module) -> None:
        """Let the gates work in a network from now on."""
        for axis in self._gated_axes():
            layer = net.get_submodule(axis.reader.rpartition(".")[0])
            hook = layer.register_forward_pre_hook(self.gate(axis).before_call)
            self._hooks.append(hook)

    def detach(self) -> None:
        """Let them work no more."""
        while self._hooks:
            self._hooks.pop().remove()

    def of(self, axis: TiedAxis, net: nn.Module) -> Tensor:
        """(units,) the factors of an axis, as they are learned."""
        if axis.norm is not None:
            return net.get_parameter(axis.norm.weight)
        return self.gate(axis).weight

    def forward(self, net: nn.Module) -> Tensor:
        """The penalty."""
        if not any(self.axes.values()):  # every layer with units is gone
            return next(net.parameters()).new_zeros(())
        factors = torch.cat([self.of(axis, net) for axis in self.all_axes()])
        if self._spread is None:
            each = [
                (axis.num_units, self.weights.get(choice, 0.0))
                for choice, own in self.axes.items()
                for axis in own
            ]
            counts, weights = map(torch.tensor, zip(*each, strict=True))
            self._spread = weights.double().repeat_interleave(counts).to(factors)
        return self.rho * (self._spread * factors.abs()).sum()

    def press(self, rho: float, weights: Mapping[str, float]) -> None:
        """Set the strength of the penalty, and the weight of a unit of each choice."""
        self.rho, self.weights, self._spread = rho, dict(weights), None

    @torch.no_grad()
    def fold(self, net: nn.Module) -> None:
        """Multiply the gates into the weights of a network; they are 1 afterwards."""
        gates = {gate_key(axis): self.gate(axis).weight for axis in self._gated_axes()}
        fold_gates(net, gates)
        for values in gates.values():
            values.fill_(1.0)
