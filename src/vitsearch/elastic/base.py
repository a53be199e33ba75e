"""What an elastic module is: its sizes are arguments of the call, nothing is stored between calls.

Every elastic module answers two questions about given sizes, and both forward and extraction ask
them: which part of my own tensors is active (`active`), and which sizes do my children get
(`children_sizes`). So there is one path from sizes to weights, and an extracted network cannot
differ from the supernet that it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment
from vitsearch.elastic.statistics import NormEstimator, NormStatistics

SizesT = TypeVar("SizesT")


@dataclass(frozen=True, slots=True)
class Context:
    """What a call carries besides sizes.

    Attributes:
        statistics: BatchNorm statistics of the architecture at hand, used in eval mode instead of
            the supernet's own.
        estimator: Collects BatchNorm statistics; layers then normalise by the batch.
        recomputing: The call repeats one that was counted; running statistics stay as they are.
        alignment: Which channels a width gets.
    """

    statistics: NormStatistics | None = None
    estimator: NormEstimator | None = None
    recomputing: bool = False
    alignment: Alignment = "prefix"

    def norm_key(self, path: str) -> str:
        """What a BatchNorm layer's statistics are filed under: other channels have others."""
        return f"{path}@suffix" if self.alignment == "suffix" else path


PLAIN = Context()


@dataclass(frozen=True, slots=True)
class TiedAxis:
    """Units (heads, hidden channels) that stand in several tensors and can trade places in all.

    Attributes:
        places: For each tensor its name, the shape to view it in, and the dimension of the units.
    """

    places: tuple[tuple[str, tuple[int, ...], int], ...]

    def below(self, path: str) -> TiedAxis:
        """The same with names below a module's path."""
        prefix = f"{path}." if path else ""
        return TiedAxis(tuple((prefix + name, shape, dim) for name, shape, dim in self.places))


class ElasticModule(nn.Module, Generic[SizesT]):
    """A module whose `forward(x, sizes, context)` uses the weights that `sizes` names."""

    def active(self, sizes: SizesT, alignment: Alignment = "prefix") -> dict[str, Tensor]:
        """Own tensors (parameters and buffers) under `sizes`, as views where possible."""
        return {}

    def children_sizes(self, sizes: SizesT) -> dict[str, Any]:
        """The sizes that each active child gets, by the child's name (a dotted path)."""
        return {}

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """Units inside this module that can trade places without changing its function."""
        return ()


def active_state(
    module: ElasticModule[Any], sizes: Any, prefix: str = "", alignment: Alignment = "prefix"
) -> dict[str, Tensor]:
    """The active weights of a module and its children, named as in a `state_dict`."""
    return dict(_walk(module, sizes, prefix, alignment))


def _walk(
    module: ElasticModule[Any], sizes: Any, prefix: str, alignment: Alignment
) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in module.active(sizes, alignment).items():
        yield prefix + name, tensor
    for name, child_sizes in module.children_sizes(sizes).items():
        child = module.get_submodule(name)
        assert isinstance(child, ElasticModule), name
        yield from _walk(child, child_sizes, f"{prefix}{name}.", alignment)
