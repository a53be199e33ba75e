"""The pieces of a space's blocks, each planned and costed once: the one table of costs.

A piece (a mixer, an MLP) depends on what flows into its block and on its own choices, so few of
them serve all architectures. The plans of architectures, the ends of the space and the tables of
`vitsearch.costs` ask here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vitsearch.spaces.bodies.stage import Stage
from vitsearch.spaces.choice import Value
from vitsearch.spaces.cost import ClosedForm, Cost, cost_of, further_forms
from vitsearch.spaces.flow import Shape
from vitsearch.spaces.plan import PiecePlan

PieceKey = tuple[int, str, tuple[Value | None, ...], Shape]


@dataclass(slots=True)
class PieceTable:
    """The plans and costs of pieces that have been asked for."""

    _plans: dict[PieceKey, PiecePlan] = field(default_factory=dict)
    _costs: dict[PieceKey, Cost] = field(default_factory=dict)
    _further: tuple[ClosedForm, ...] = ()

    def plan(
        self, stage: Stage, role: str, values: tuple[Value | None, ...], shape: Shape
    ) -> PiecePlan:
        """The sizes of a piece.

        Args:
            stage: Whose blocks have it.
            role: Which piece of the block.
            values: Of the piece's own choices, in their order; `otherwise` where one is inactive.
            shape: What flows into the block.
        """
        key = (stage.index, role, values, shape)
        found = self._plans.get(key)
        if found is None:
            part = stage.block.pieces()[role]
            names = [choice.name for choice in part.choices()]
            found = part.plan(dict(zip(names, values, strict=True)), shape)
            self._plans[key] = found
        return found

    def cost(self, stage: Stage, role: str, values: tuple[Value | None, ...], shape: Shape) -> Cost:
        """What a piece costs; what the block costs itself is `stage.block.own_cost`."""
        if self._further != further_forms():
            self._costs, self._further = {}, further_forms()
        key = (stage.index, role, values, shape)
        found = self._costs.get(key)
        if found is None:
            found = self._costs[key] = cost_of(self.plan(stage, role, values, shape))
        return found
