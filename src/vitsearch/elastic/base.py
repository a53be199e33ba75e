"""What an elastic module is: its sizes are arguments of the call, nothing is stored between calls.

Every elastic module answers two questions about given sizes, and both forward and extraction ask
them: which part of my own tensors is active (`regions`), and which sizes do my children get
(`children_sizes`). So there is one path from sizes to weights, and an extracted network cannot
differ from the supernet that it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment
from vitsearch.elastic.region import Region, cut_together
from vitsearch.elastic.statistics import NormEstimator, NormStatistics

if TYPE_CHECKING:
    from vitsearch.elastic.layers.linear import ElasticLinear

SizesT = TypeVar("SizesT")
Taken = Mapping[tuple[nn.Module, Any, Alignment], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Context:
    """What a call carries besides sizes.

    Attributes:
        statistics: BatchNorm statistics of the architecture at hand, used in eval mode instead of
            the supernet's own.
        estimator: Collects BatchNorm statistics; layers then normalise by the batch.
        recomputing: The call repeats one that was counted; running statistics stay as they are.
        alignment: Which channels a width gets.
        taken: Active tensors that are at hand, of all sub-networks of a step; see `take_together`.
    """

    statistics: NormStatistics | None = None
    estimator: NormEstimator | None = None
    recomputing: bool = False
    alignment: Alignment = "prefix"
    taken: Taken | None = None

    def norm_key(self, path: str) -> str:
        """What a BatchNorm layer's statistics are filed under: other channels have others."""
        return f"{path}@suffix" if self.alignment == "suffix" else path


PLAIN = Context()


Place = tuple[str, tuple[int, ...], int]


@dataclass(frozen=True, slots=True)
class UnitNorm:
    """The BatchNorm behind the units of an axis, whose weight is the factor of each unit.

    With a weight of 0 a unit gives `activation(bias)`, whatever the image, which a pointwise layer
    that reads it turns into a constant.

    Attributes:
        weight: Name of its weight.
        bias: Name of its bias.
        activation: Between the norm and the layer that reads the units.
        constant: Name of what can take over a constant: a bias, to which it is added, or the
            `running_mean` of the next BatchNorm, from which it is taken off. `None` where units
            meet each other before they are read, as tokens do; what they gave is then lost.
    """

    weight: str
    bias: str
    activation: Callable[[Tensor], Tensor]
    constant: str | None

    def below(self, prefix: str) -> UnitNorm:
        """The same with names behind a prefix."""
        return replace(
            self,
            weight=prefix + self.weight,
            bias=prefix + self.bias,
            constant=None if self.constant is None else prefix + self.constant,
        )


@dataclass(frozen=True, slots=True)
class TiedAxis:
    """Units (heads, hidden channels) that stand in several tensors and can trade places in all.

    Attributes:
        places: For each tensor its name, the shape to view it in, and the dimension of the units.
        reader: Name of the weight that the units enter, the last of them.
        norm: The BatchNorm right behind each unit, if the weight of a unit there says all that
            depends on the image; `None` for none.
        groups: For each tensor an earlier dimension, of groups inside which alone units can trade
            places, each in an order of its own; empty where all units are one group.
    """

    places: tuple[Place, ...]
    reader: str
    norm: UnitNorm | None = None
    groups: tuple[int, ...] = ()

    @property
    def reading(self) -> Place:
        """Where the units stand in the weight that they enter."""
        return next(place for place in self.places if place[0] == self.reader)

    @property
    def num_units(self) -> int:
        """How many there are."""
        _, shape, dim = self.reading
        return shape[dim]

    def below(self, path: str) -> TiedAxis:
        """The same with names below a module's path."""
        prefix = f"{path}." if path else ""
        return TiedAxis(
            tuple((prefix + name, shape, dim) for name, shape, dim in self.places),
            prefix + self.reader,
            None if self.norm is None else self.norm.below(prefix),
            self.groups,
        )


class ElasticModule(nn.Module, Generic[SizesT]):
    """A module whose `forward(x, sizes, context)` uses the weights that `sizes` names."""

    def regions(self, sizes: SizesT, alignment: Alignment = "prefix") -> dict[str, Region]:
        """What `sizes` take of own tensors (parameters and buffers), by name."""
        return {}

    def active(self, sizes: SizesT, alignment: Alignment = "prefix") -> dict[str, Tensor]:
        """Own tensors under `sizes`, as views where possible."""
        return {
            name: region.cut(_tensor(self, name))
            for name, region in self.regions(sizes, alignment).items()
        }

    def tensors(self, sizes: SizesT, context: Context) -> dict[str, Tensor]:
        """The same for a call: their gradients go straight into those of the whole tensors."""
        if context.taken is not None:
            found = context.taken.get((self, sizes, context.alignment))
            if found is not None:
                return found
        return {
            name: cut_together(_tensor(self, name), [region])[0]
            for name, region in self.regions(sizes, context.alignment).items()
        }

    def children_sizes(self, sizes: SizesT) -> dict[str, Any]:
        """The sizes that each active child gets, by the child's name (a dotted path)."""
        return {}

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """Units inside this module that can trade places without changing its function."""
        return ()

    def last_layers(self) -> tuple[ElasticLinear, ...]:
        """The layers that make what the module returns; none are known by default."""
        return ()


def take_together(
    module: ElasticModule[Any], calls: Iterable[tuple[Any, Alignment]]
) -> dict[tuple[nn.Module, Any, Alignment], dict[str, Tensor]]:
    """The active tensors of a module and its children for several calls, each cut once.

    Args:
        module: What will be called.
        calls: The sizes and the alignment of each call.
    """
    wanted: dict[ElasticModule[Any], dict[tuple[Any, Alignment], None]] = {}
    for sizes, alignment in dict.fromkeys(calls):
        _collect(module, sizes, alignment, wanted)
    taken: dict[tuple[nn.Module, Any, Alignment], dict[str, Tensor]] = {}
    for owner, keys in wanted.items():
        regions = {key: owner.regions(*key) for key in keys}
        by_name: dict[str, list[tuple[Any, Alignment]]] = {}
        for key, own in regions.items():
            for name in own:
                by_name.setdefault(name, []).append(key)
        for name, users in by_name.items():
            parts = cut_together(_tensor(owner, name), [regions[key][name] for key in users])
            for key, part in zip(users, parts, strict=True):
                taken.setdefault((owner, *key), {})[name] = part
    return taken


def _collect(
    module: ElasticModule[Any],
    sizes: Any,
    alignment: Alignment,
    wanted: dict[ElasticModule[Any], dict[tuple[Any, Alignment], None]],
) -> None:
    if type(module).regions is not ElasticModule.regions:
        wanted.setdefault(module, {})[sizes, alignment] = None
    for name, child_sizes in module.children_sizes(sizes).items():
        _collect(_child(module, name), child_sizes, alignment, wanted)


def _tensor(module: nn.Module, name: str) -> Tensor:
    path, _, own = name.rpartition(".")
    found = getattr(module.get_submodule(path) if path else module, own)
    assert isinstance(found, Tensor), name
    return found


def _child(module: nn.Module, name: str) -> ElasticModule[Any]:
    child = module.get_submodule(name)
    assert isinstance(child, ElasticModule), name
    return child


def active_state(
    module: ElasticModule[Any], sizes: Any, prefix: str = "", alignment: Alignment = "prefix"
) -> dict[str, Tensor]:
    """The active weights of a module and its children, named as in a `state_dict`."""
    return {
        path + name: tensor
        for path, own, own_sizes in _active_modules(module, sizes, prefix)
        for name, tensor in own.active(own_sizes, alignment).items()
    }


def active_regions(
    module: ElasticModule[Any], sizes: Any, prefix: str = "", alignment: Alignment = "prefix"
) -> dict[str, Region]:
    """What `active_state` takes of each tensor; also of whatever holds a number for each weight."""
    return {
        path + name: region
        for path, own, own_sizes in _active_modules(module, sizes, prefix)
        for name, region in own.regions(own_sizes, alignment).items()
    }


def _active_modules(
    module: ElasticModule[Any], sizes: Any, prefix: str
) -> Iterator[tuple[str, ElasticModule[Any], Any]]:
    yield prefix, module, sizes
    for name, child_sizes in module.children_sizes(sizes).items():
        yield from _active_modules(_child(module, name), child_sizes, f"{prefix}{name}.")
