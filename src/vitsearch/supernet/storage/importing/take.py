"""What an import is made of: for each tensor of ours, the authors' tensors and how to cut them.

A family's file is a table of names, ours to the authors', and the few tensors that are more than
another name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def unchanged(tensor: Tensor) -> Tensor:
    """The tensor itself: another name is all."""
    return tensor


@dataclass(frozen=True, slots=True)
class Take:
    """Where one tensor of ours comes from.

    Attributes:
        names: The authors' names.
        shape: What each of these tensors has to be.
        make: From these tensors to ours.
        elastic: Dimensions in which the authors' tensor may be larger, as in a supernet.
    """

    names: tuple[str, ...]
    shape: Shape
    make: Callable[..., Tensor] = unchanged
    elastic: tuple[int, ...] = ()

    def fits(self, shape: Shape) -> bool:
        """Whether a tensor of this shape has everything that is asked for."""
        return len(shape) == len(self.shape) and all(
            size >= wanted if dim in self.elastic else size == wanted
            for dim, (size, wanted) in enumerate(zip(shape, self.shape, strict=True))
        )


Takes = Iterator[tuple[str, Take]]


@dataclass(frozen=True, slots=True)
class Family:
    """How the authors of one family name their tensors.

    Attributes:
        classifier: Their name of the classifier's weight, (classes, C).
        takes: For the shapes of our network by name, the names in the file, and the entry of
            `published.json`: a `Take` for each of our tensors.
        is_dropped: Whether a tensor that nothing takes is known and of no use, from its name and
            all names that are taken.
    """

    classifier: str
    takes: Callable[[Shapes, Collection[str], Mapping[str, Any]], Takes]
    is_dropped: Callable[[str, Collection[str]], bool] = lambda name, taken: False


def translate(
    name: str,
    table: Mapping[str, str],
    number: Callable[[int, int], int] = lambda stage, block: block,
) -> str:
    """The authors' name for one of ours, by the first line of a table that fits.

    Args:
        name: Ours.
        table: Such as `{"stages.{stage}.blocks.{block}.norm1.{leaf}": "layers.{number}.ln.{leaf}"}`
            where each `{word}` stands for one part of a dotted name.
        number: The authors' number of a block, from its stage and its place in it; -1 is the
            transition into the stage.
    """
    for ours, theirs in table.items():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^.]+)", re.escape(ours))
        if match := re.fullmatch(pattern, name):
            fields: dict[str, Any] = match.groupdict()
            if "stage" in fields:
                fields["number"] = number(int(fields["stage"]), int(fields.get("block", -1)))
            return theirs.format(**fields)
    raise AssertionError(f"{name} is not in the table of the authors' names")
