"""A supernet made smaller in its weights: units in order, constants carried, the rest cut off.

What is left computes what the network computed with the dropped units at zero. All that holds a
number for each weight (an optimiser's moments, averaged weights) is cut by the same regions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.elastic import Reordering, TiedAxis
from vitsearch.elastic.base import active_regions
from vitsearch.elastic.region import Region
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.plan import Plan
from vitsearch.supernet import SuperTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivors:
    """Which units of an axis stay.

    Attributes:
        axis: Where the units stand, by names in the network.
        order: (units,) for each new place the old one; what goes stands at the end.
        count: How many stay.
    """

    axis: TiedAxis
    order: Tensor
    count: int

    def of(self, values: Tensor) -> Tensor:
        """(count,) the numbers of the units that stay, of (units,)."""
        return values[self.order[: self.count].to(values.device)].clone()


class Surgery:
    """How tensors of a supernet become those of a smaller one.

    Attributes:
        space: Of the smaller one.
        survivors: The units that stay, of each axis that loses or reorders some.
    """

    def __init__(
        self, net: SuperTransformer, space: SearchSpace, survivors: Mapping[TiedAxis, Survivors]
    ) -> None:
        """Plan it; nothing is changed.

        Args:
            net: What is made smaller.
            space: The part of its space that is left; all its weights are those of its largest
                architecture.
            survivors: The units that stay, by axis; of other axes the first ones, as they stand.
        """
        self.space = space
        self.survivors = tuple(survivors.values())
        self._regions = network_regions(net, space.plan(space.largest()))

    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights and statistics by name, or averages of them; constants of what goes stay."""
        return self._cut(tensors, carrying=True)

    def moments(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What an optimiser keeps for each weight, by the names of the weights."""
        return self._cut(tensors, carrying=False)

    @torch.no_grad()
    def _cut(self, tensors: Mapping[str, Tensor], *, carrying: bool) -> dict[str, Tensor]:
        touched = {name for own in self.survivors for name, _, _ in own.axis.places}
        norms = (own.axis.norm for own in self.survivors)
        touched |= {n.constant for n in norms if n is not None and n.constant is not None}
        copies = {
            name: tensor.detach().clone() if name in touched else tensor.detach()
            for name, tensor in tensors.items()
        }
        for own in self.survivors:
            if carrying:
                carry_constant(own, copies)
            Reordering(own.axis, own.order).apply(copies)
        return {
            name: self._regions[name].cut(tensor).clone(memory_format=torch.contiguous_format)
            for name, tensor in copies.items()
            if name in self._regions
        }


def network_regions(net: SuperTransformer, plan: Plan) -> dict[str, Region]:
    """What a plan takes of each tensor of a supernet, heads for training included."""
    found: dict[str, Region] = {}
    for node in plan.nodes:
        found |= active_regions(net.layer(node.name), node.plan, f"{node.name}.")
    for name, layer, sizes in net.pooling(plan.head):
        found |= active_regions(layer, sizes, f"{name}.")
    for name, head in net.heads():
        found |= active_regions(head, net.head_sizes(plan.head), f"{name}.")
    return found


def carry_constant(survivors: Survivors, tensors: Mapping[str, Tensor]) -> None:
    """Give what dropped units add to every position to a tensor that stays, in place.

    A unit whose BatchNorm weight is 0 gives `activation(bias)`; the layer that reads it makes a
    constant of that, which a bias takes, or the running mean of the next BatchNorm.

    Args:
        survivors: Of one axis.
        tensors: Of the network, in the old order.
    """
    norm = survivors.axis.norm
    going = survivors.order[survivors.count :]
    if norm is None or norm.constant is None or not len(going):
        return
    name, shape, dim = survivors.axis.reading
    weight = tensors[name]
    going = going.to(weight.device)
    values = norm.activation(tensors[norm.bias][going])
    columns = weight.view(shape).index_select(dim, going)
    constant = torch.tensordot(columns, values, dims=([dim], [0])).flatten()
    if norm.constant.endswith("running_mean"):
        constant = -constant
    tensors[norm.constant].add_(constant)


def smaller_supernet(
    net: SuperTransformer, space: SearchSpace, state: Mapping[str, Tensor]
) -> SuperTransformer:
    """A supernet of a part of a space, with given weights, where and how the whole one is.

    Args:
        net: The whole one.
        space: The part.
        state: Weights and statistics, by name.
    """
    like = next(net.parameters())
    with torch.random.fork_rng(devices=[]):  # fresh weights, of which none is kept
        made = SuperTransformer(
            space,
            net.num_classes,
            drop_path_rate=net.drop_path_rate,
            sharing=net.sharing,
        )
    made.to(device=like.device, dtype=like.dtype)
    made.load_state_dict(state)
    made.preprocessing, made.class_names = net.preprocessing, net.class_names
    made.set_grad_checkpointing(net.grad_checkpointing)
    return made.train(net.training)
