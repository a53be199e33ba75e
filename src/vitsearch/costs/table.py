"""Closed-form costs of many architectures: each distinct piece of the space is costed once.

A block's cost depends on its own choices and on a few shared ones, so a table of blocks serves
millions of architectures; no plan is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitsearch.spaces import Architecture, Cost, SearchSpace, Value, extent

Key = tuple[Value | None, ...]


class CostModel:
    """The cost of architectures of one space with one classifier; grows its tables as it is used.

    It trusts its input: architectures must be legal in the space.
    """

    def __init__(self, space: SearchSpace, num_classes: int = 1000) -> None:
        self.space = space
        self.num_classes = num_classes
        self._shared_names = [choice.name for choice in space.shared_choices]
        self._slots = [
            (stage, slot, [choice.name for choice in choices])
            for stage, slots in enumerate(space.block_choices)
            for slot, choices in enumerate(slots)
        ]
        self._bases: dict[Key, Cost] = {}
        self._blocks: list[dict[tuple[Key, Key], tuple[int, int]]] = [{} for _ in self._slots]

    def cost(self, architecture: Architecture) -> Cost:
        """MACs and parameters, the classifier included."""
        get = architecture.get
        shared = tuple([get(name) for name in self._shared_names])
        base = self._bases.get(shared)
        if base is None:
            base = self._bases[shared] = self._base_cost(architecture)
        macs, params = base.macs, base.params
        for index, (_, _, names) in enumerate(self._slots):
            key = (shared, tuple([get(name) for name in names]))
            cost = self._blocks[index].get(key)
            if cost is None:
                cost = self._blocks[index][key] = self._block_cost(index, architecture)
            macs += cost[0]
            params += cost[1]
        return Cost(macs, params)

    def _base_cost(self, architecture: Architecture) -> Cost:
        values = self.space.values(architecture)
        head = self.space.head_plan(values).cost(self.num_classes)
        return extent.stem_plan(self.space, values).cost() + head

    def _block_cost(self, index: int, architecture: Architecture) -> tuple[int, int]:
        stage, slot, _ = self._slots[index]
        values = self.space.values(architecture)
        tokens = self.space.tokens(stage, values, self.space.grids(values)[stage])
        cost = self.space.stages[stage].block_plan(slot, values, tokens).cost()
        return cost.macs, cost.params


def cost(space: SearchSpace, architecture: Architecture, num_classes: int = 1000) -> Cost:
    """MACs of one image and parameters of an architecture.

    Raises:
        SpaceError: The architecture is not legal in the space.
    """
    return space.plan(architecture).cost(num_classes)


def cost_table(
    space: SearchSpace, architectures: Sequence[Architecture], num_classes: int = 1000
) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """The costs of many architectures, as arrays (n,) of 64-bit integers: `macs` and `params`."""
    model = CostModel(space, num_classes)
    costs = [model.cost(architecture) for architecture in architectures]
    return {
        "macs": np.array([cost.macs for cost in costs], dtype=np.int64),
        "params": np.array([cost.params for cost in costs], dtype=np.int64),
    }
