"""One shrink: a supernet with its factors becomes a smaller one, and its optimiser follows.

What depends on the numbers (which units are least) is decided once, from the factors; the same
`Shrink` is then carried out on the network that is trained and on averages of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitsearch.elastic import TiedAxis
from vitsearch.elastic.rewiring import tied_axes
from vitsearch.errors import ConfigError
from vitsearch.shrinking.progressive.factors import Factors
from vitsearch.shrinking.progressive.surgery import Surgery, Survivors, smaller_supernet
from vitsearch.spaces import SearchSpace
from vitsearch.supernet import SuperTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """A network that was made smaller.

    Attributes:
        net: Itself.
        factors: Its own, attached.
    """

    net: SuperTransformer
    factors: Factors


class Shrink:
    """Which units stay, and what that makes of a network, of averages and of moments."""

    def __init__(
        self,
        net: SuperTransformer,
        factors: Factors,
        *,
        space: SearchSpace,
        counts: Mapping[str, int],
        importance: Mapping[str, Tensor],
    ) -> None:
        """Plan it; nothing is changed.

        Args:
            net: What is made smaller.
            factors: Its own.
            space: What is left of its space.
            counts: How many units of each choice stay.
            importance: (units,) for each axis, by the weight that reads its units.
        """
        survivors = {
            axis: Survivors(
                axis=axis,
                order=importance[axis.reader].argsort(descending=True, stable=True),
                count=counts[choice],
            )
            for choice, axes in factors.axes.items()
            for axis in axes
        }
        self._survivors = {axis.reader: own for axis, own in survivors.items()}
        self._surgery = Surgery(net, space, survivors)

    def network(self, net: SuperTransformer, factors: Factors) -> Shrunk:
        """The smaller network of one like that which it was planned for."""
        made = smaller_supernet(net, self._surgery.space, self._surgery.weights(net.state_dict()))
        own = Factors(axes_in(made, factors.axes), next(made.parameters()))
        own.press(factors.rho, factors.weights)
        with torch.no_grad():
            for axis in factors.all_axes():
                survivors = self._survivors[axis.reader]
                if axis.norm is None and survivors.count:
                    kept = next(one for one in own.all_axes() if one.reader == axis.reader)
                    own.gate(kept).weight.copy_(survivors.of(factors.gate(axis).weight))
        own.attach(made)
        own.train(factors.training)
        return Shrunk(net=made, factors=own)

    def units(self, reader: str, values: Tensor) -> Tensor:
        """The numbers of the units that stay, of (units,) numbers of the axis of a weight."""
        return self._survivors[reader].of(values)

    def optimizer(self, optimizer: Optimizer, before: Shrunk, after: Shrunk) -> None:
        """Let an optimiser go on with the parameters of the smaller network, in place.

        Raises:
            ConfigError: It keeps something else than a number for each weight.
        """
        old, new = _parameters(before), _parameters(after)
        check_moments(optimizer, old)
        names: dict[Tensor, str] = {parameter: name for name, parameter in old.items()}
        kinds: dict[str, dict[str, Tensor]] = {}
        states: dict[str, dict[str, object]] = {}
        for parameter, state in optimizer.state.items():
            name = names[parameter]
            states[name] = dict(state)
            for kind, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
                    kinds.setdefault(kind, {})[name] = value
        for kind, values in kinds.items():
            for name, value in self._moments(values, before.factors).items():
                states[name][kind] = value
        optimizer.state.clear()
        optimizer.state.update({new[name]: own for name, own in states.items() if name in new})
        for group in optimizer.param_groups:
            stay = [names[parameter] for parameter in group["params"]]
            group["params"] = [new[name] for name in stay if name in new]

    def _moments(self, values: Mapping[str, Tensor], factors: Factors) -> dict[str, Tensor]:
        found = self._surgery.moments(values)
        for axis in factors.all_axes():
            name = _gate_name(axis)
            if name in values:
                found[name] = self.units(axis.reader, values[name])
        return found


def axes_in(
    net: nn.Module, axes: Mapping[str, tuple[TiedAxis, ...]]
) -> dict[str, tuple[TiedAxis, ...]]:
    """The axes of each choice as they are in another network; those that are gone are left out."""
    there = {axis.reader: axis for axis in tied_axes(net)}
    return {
        choice: tuple(there[axis.reader] for axis in own if axis.reader in there)
        for choice, own in axes.items()
    }


def check_moments(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse an optimiser whose state cannot be cut.

    Raises:
        ConfigError: It keeps something else than a number for each weight.
    """
    for name, parameter in parameters.items():
        for kind, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
                raise ConfigError(
                    f"callbacks.shrinking: {type(optimizer).__name__} keeps {kind} "
                    f"{tuple(value.shape)} for {name} {tuple(parameter.shape)}; use an optimiser "
                    f"with one moment for each weight, such as optimizer.opt=adamw"
                )


def _parameters(of: Shrunk) -> dict[str, nn.Parameter]:
    """All that is trained, by name: of the network, and the gates."""
    gates = {
        _gate_name(axis): of.factors.gate(axis).weight
        for axis in of.factors.all_axes()
        if axis.norm is None
    }
    return {**dict(of.net.named_parameters()), **gates}


def _gate_name(axis: TiedAxis) -> str:
    return f"gate of {axis.reader}"
