"""Which units of a supernet can go, and which choice says how many there are.

Layers declare their units (`TiedAxis`); which choice counts them is found, not declared: with a
smaller option of the choice the network takes the first units of the axis, and all else stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

from vitsearch.elastic import TiedAxis
from vitsearch.elastic.base import active_regions
from vitsearch.elastic.region import Region
from vitsearch.elastic.rewiring import tied_axes
from vitsearch.shrinking.progressive.ladder import CountedUnits
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.plan import Node
from vitsearch.supernet import SuperTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitGroup:
    """The units that one choice counts.

    Attributes:
        counted: How many each option stands for.
        axes: Where they stand, by names in the network; an option takes as many of each.
    """

    counted: CountedUnits
    axes: tuple[TiedAxis, ...]


class UnitFinder:
    """Finds the units of a supernet whose largest architecture is trained."""

    def __init__(self, net: SuperTransformer) -> None:
        """Look at a network.

        Args:
            net: It shares first channels (`sharing=prefix`).
        """
        self._net, self._space = net, net.space
        self._largest = net.space.largest()
        self._plan = net.space.plan(self._largest)
        self._nodes = {node.name: node for node in self._plan.nodes}
        self._axes = list(tied_axes(net))
        self._at = {
            (name, dim, shape): axis for axis in self._axes for name, shape, dim in axis.places
        }

    def groups(self) -> dict[str, UnitGroup]:
        """The units by the name of the choice that counts them."""
        found = {}
        for choice in self._space.choices:
            is_count = not any(isinstance(option, bool | str) for option in choice.options)
            if is_count and len(choice.options) > 1 and choice.name in self._largest:
                group = self._group(choice)
                if group is not None:
                    found[choice.name] = group
        return found

    def _group(self, choice: Choice) -> UnitGroup | None:
        """The units of a choice; `None` where it does more than count some."""
        options = choice.options[: choice.options.index(self._largest[choice.name]) + 1]
        counts: list[int] = []
        axes: set[TiedAxis] = set()
        for option in reversed(options[:-1]):
            widths = self._widths(choice.name, option, axes)
            if not widths or len(set(widths.values())) > 1 or (axes and axes != widths.keys()):
                return None
            axes = set(widths)
            counts.insert(0, next(iter(widths.values())))
        largest = {self._width(axis) for axis in axes} - {None}
        counts += [width for width in largest if width is not None]
        if len(largest) != 1 or any(one >= next_one for one, next_one in pairwise(counts)):
            return None
        return UnitGroup(
            counted=CountedUnits(choice=choice.name, options=options, counts=tuple(counts)),
            axes=tuple(axis for axis in self._axes if axis in axes),
        )

    def _widths(self, name: str, option: Value, known: Collection[TiedAxis]) -> dict[TiedAxis, int]:
        """How many units of each axis are left with another option of a choice.

        Args:
            name: Of the choice.
            option: What it has instead of its largest.
            known: The axes that larger options have narrowed, if any have.

        Returns:
            Nothing where the option does something else.
        """
        architecture = self._with(name, option)
        if architecture is None:
            return {}
        plan = self._space.plan(architecture)
        if [node.name for node in plan.nodes] != list(self._nodes) or plan.head != self._plan.head:
            return {}
        widths: dict[TiedAxis, int] = {}
        for node in plan.nodes:
            whole = self._nodes[node.name]
            if node == whole:
                continue
            if (node.reads, node.shape) != (whole.reads, whole.shape):
                return {}
            before, after = self._regions(whole), self._regions(node)
            narrowed = self._narrowed(before, after)
            if narrowed is None:
                return {}
            gone = before.keys() - after.keys()
            # With its last unit a layer goes, and all that works for it.
            ended = {axis for axis in known or self._axes if axis.reader in gone}
            if gone and not ended:
                return {}
            widths |= narrowed | dict.fromkeys(ended, 0)
        return widths

    def _narrowed(
        self, before: Mapping[str, Region], after: Mapping[str, Region]
    ) -> dict[TiedAxis, int] | None:
        """The widths of the axes that take fewer units, the first ones; `None` if more differs."""
        if after.keys() - before.keys():
            return None
        widths: dict[TiedAxis, int] = {}
        for name, region in after.items():
            for own, other in zip(before[name].ranges, region.ranges, strict=True):
                if own == other:
                    continue
                axis = self._at.get((name, own.dim, self._shape(name, region)))
                if axis is None or own.start or other.start:
                    return None
                widths.setdefault(axis, other.width)
        for axis, width in widths.items():
            for name, _, dim in axis.places:
                if name in before and _width(after.get(name), dim) != width:
                    return None
        return widths

    def _shape(self, name: str, region: Region) -> tuple[int, ...]:
        if region.grid is not None:
            return region.grid
        path, _, own = name.rpartition(".")
        return tuple(getattr(self._net.get_submodule(path), own).shape)

    def _regions(self, node: Node) -> dict[str, Region]:
        return active_regions(self._net.layer(node.name), node.plan, f"{node.name}.")

    def _width(self, axis: TiedAxis) -> int | None:
        """The units of an axis in the largest network."""
        name, _, dim = axis.reading
        node = next(own for own in self._nodes.values() if name.startswith(f"{own.name}."))
        return _width(self._regions(node).get(name), dim)

    def _with(self, name: str, option: Value) -> Architecture | None:
        """The largest architecture with another option; `None` where that opens other choices."""
        given = {**self._largest.to_dict(), name: option}
        values = self._space.complete(lambda choice: given.get(choice.name, choice.options[0]))
        return values if values.to_dict().keys() <= given.keys() else None


def _width(region: Region | None, dim: int) -> int | None:
    """What is taken along a dimension; `None` where nothing is taken of it by channels."""
    if region is None:
        return None
    return next((own.width for own in region.ranges if own.dim == dim), None)


def start_space(space: SearchSpace, groups: Mapping[str, UnitGroup]) -> SearchSpace:
    """The part of a space in which units go: what nothing counts stays as in the largest network.

    Args:
        space: Of a supernet.
        groups: Its units.
    """
    largest = space.largest().to_dict()
    left: dict[str, list[Value]] = {}
    for choice in space.choices:
        group = groups.get(choice.name)
        only = [largest.get(choice.name, choice.options[-1])]
        left[choice.name] = only if group is None else list(group.counted.options)
    return space.restrict(left)
