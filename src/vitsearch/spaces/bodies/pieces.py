"""The pieces of a stage's blocks, each planned and costed once: the one table of costs.

A piece (a mixer, an MLP) depends on what flows into its block and on its own choices, so few of
them serve all architectures. The plans of architectures, the ends of a space and the tables of
`vitsearch.costs` ask here.
"""

from __future__ import annotations

from collections.abc import Mapping

from vitsearch.spaces.choice import Value
from vitsearch.spaces.cost import ClosedForm, Cost, cost_of, further_forms, no_cost
from vitsearch.spaces.flow import Seen
from vitsearch.spaces.parts.base import THERE, BlockKind, Follower, Values
from vitsearch.spaces.plan import PiecePlan

Taken = tuple[Value | None, ...]
"""Values of a piece's own choices, in their order; `otherwise` where one is inactive."""


class PieceTable:
    """The plans and costs of pieces of one kind of block; grows as it is asked.

    Attributes:
        names: The choices of each piece, by role, named relative to the block; but not of
            followers.
        followers: For each piece that follows others the choices that decide whether it is there;
            the one thing that is taken of them is the answer.
    """

    def __init__(self, block: BlockKind) -> None:
        self._block = block
        self._parts = dict(block.pieces())
        self.followers: Mapping[str, tuple[str, ...]] = {
            role: part.follows for role, part in self._parts.items() if isinstance(part, Follower)
        }
        self.names: Mapping[str, tuple[str, ...]] = {
            role: tuple(choice.name for choice in part.choices())
            for role, part in self._parts.items()
            if role not in self.followers
        }
        self._plans: dict[tuple[str, Taken, Seen], PiecePlan] = {}
        self._costs: dict[tuple[str, Taken, Seen], Cost] = {}
        self._further: tuple[ClosedForm, ...] = ()

    def plan(self, role: str, taken: Taken, seen: Seen) -> PiecePlan:
        """The sizes of a piece in a block that sees this."""
        key = (role, taken, seen)
        found = self._plans.get(key)
        if found is None:
            values = dict(zip(self.names.get(role, (THERE,)), taken, strict=True))
            found = self._plans[key] = self._parts[role].plan(values, seen)
        return found

    def following(self, values: Values) -> dict[str, Taken]:
        """What is taken of followers, from the values of the block's choices by short names."""
        return {
            role: (any(values[name] for name in names),) for role, names in self.followers.items()
        }

    def block(self, taken: Mapping[str, Taken], seen: Seen) -> PiecePlan:
        """The sizes of a block, from the values of each of its pieces."""
        plans = {role: self.plan(role, values, seen) for role, values in taken.items()}
        return self._block.assemble(plans, seen)

    def cost(self, role: str, taken: Taken, seen: Seen) -> Cost:
        """What a piece costs; what its block costs itself is `own_cost`."""
        if self._further != further_forms():
            self._costs, self._further = {}, further_forms()
        key = (role, taken, seen)
        found = self._costs.get(key)
        if found is None:
            found = self._costs[key] = cost_of(self.plan(role, taken, seen))
        return found

    def own_cost(self, seen: Seen) -> Cost:
        """What a block costs beside its pieces."""
        return no_cost() + self._block.own_cost(seen)
