"""How the nodes of a high-resolution network are wired: which block leads from which map to which.

A module makes new maps of the ones before it. Each is the sum of what comes from its neighbours
(the fusion), then goes through blocks of its own (its branch); a module may begin one more branch,
at half the resolution. All widths and sizes are fixed, so one network has the wiring of all.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.3; HRNet (Wang et al., 2019) has the same frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitsearch.spaces.flow import Map
from vitsearch.spaces.parts.hr import MapConcatPlan, MapLayers, MapStep, MapSumPlan
from vitsearch.spaces.parts.hr.maps import ConvUnitPlan
from vitsearch.spaces.parts.resnet_stem import halved
from vitsearch.spaces.plan import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a searching block stands.

    Attributes:
        name: The path of its weights.
        step: From which map to which.
        reads: The name of the node that it takes.
    """

    name: str
    step: MapStep
    reads: str

    @property
    def gives(self) -> Map:
        """What comes out."""
        return Map(embed_dim=self.step.embed_dim, grid=self.step.grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A map that is there.

    Attributes:
        name: Of the node that gives it.
        shape: Its sizes.
    """

    name: str
    shape: Map


Wired = Place | Node


class Wiring:
    """The places and other nodes of one stage, in the order in which they are computed."""

    def __init__(self, prefix: str, layers: MapLayers) -> None:
        self.prefix = prefix
        self.layers = layers
        self.nodes: list[Wired] = []

    @property
    def places(self) -> tuple[Place, ...]:
        """Those of searching blocks."""
        return tuple(node for node in self.nodes if isinstance(node, Place))

    def block(self, name: str, before: End, embed_dim: int, stride: int = 1) -> End:
        """A searching block behind a map."""
        rows, columns = before.shape.grid
        grid = (halved(rows), halved(columns)) if stride == 2 else (rows, columns)
        step = MapStep(
            in_dim=before.shape.embed_dim,
            in_grid=before.shape.grid,
            embed_dim=embed_dim,
            grid=grid,
            stride=stride,
        )
        place = Place(name=f"{self.prefix}.{name}", step=step, reads=before.name)
        self.nodes.append(place)
        return End(name=place.name, shape=place.gives)

    def sum(
        self, name: str, parts: Sequence[End], doubled: Sequence[bool], *, activates: bool
    ) -> End:
        """Maps added up, of the first one's size."""
        shape = parts[0].shape
        plan = MapSumPlan(
            embed_dim=shape.embed_dim,
            doubled=tuple(doubled),
            activation=self.layers.activation if activates else "",
        )
        return self._node(name, plan, parts, shape)

    def module(
        self, before: Sequence[End], widths: Sequence[int], blocks: Sequence[int]
    ) -> list[End]:
        """A fusion of the maps before, then the blocks of each branch."""
        fused: list[End] = []
        for to, width in enumerate(widths[: len(before)]):
            near = range(max(to - 1, 0), min(to + 2, len(before)))
            parts = [
                self.block(f"fusion.{to}.{own}", before[own], width, 2 if own < to else 1)
                for own in near
            ]
            doubled = [own > to for own in near]
            fused.append(self.sum(f"sum.{to}", parts, doubled, activates=True))
        if len(widths) > len(before):
            new = len(before)
            fused.append(self.block(f"fusion.{new}.{new - 1}", fused[-1], widths[new], 2))
        ends = []
        for branch, end in enumerate(fused):
            for number in range(blocks[branch]):
                end = self.block(f"branches.{branch}.{number}", end, end.shape.embed_dim)
            ends.append(end)
        return ends

    def widened(self, before: Sequence[End], widths: Sequence[int], features: int) -> End:
        """All maps wider, the finer ones led down to the coarsest, one after the other."""
        wide = [
            self.block(f"widen.{branch}", end, width)
            for branch, (end, width) in enumerate(zip(before, widths, strict=True))
        ]
        end = wide[0]
        for number, coarser in enumerate(wide[1:]):
            down = self.block(f"down.{number}", end, coarser.shape.embed_dim, 2)
            end = self.sum(f"sum.{number}", [coarser, down], [False, False], activates=False)
        shape = Map(embed_dim=features, grid=end.shape.grid)
        plan = ConvUnitPlan(
            in_dim=end.shape.embed_dim,
            embed_dim=features,
            grid=shape.grid,
            layers=self.layers,
        )
        return self._node("conv", plan, [end], shape)

    def joined(self, before: Sequence[End], width: int) -> End:
        """All maps side by side at the finest resolution, and a block that mixes them."""
        total = sum(end.shape.embed_dim for end in before)
        shape = Map(embed_dim=total, grid=before[0].shape.grid)
        together = self._node("concat", MapConcatPlan(embed_dim=total), before, shape)
        return self.block("mix", together, width)

    def _node(
        self,
        name: str,
        plan: MapSumPlan | MapConcatPlan | ConvUnitPlan,
        reads: Sequence[End],
        shape: Map,
    ) -> End:
        own = f"{self.prefix}.{name}"
        self.nodes.append(
            Node(name=own, plan=plan, reads=tuple(end.name for end in reads), shape=shape)
        )
        return End(name=own, shape=shape)
