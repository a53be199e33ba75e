"""Many architectures at once, as rows of numbers: what numpy draws, compares and costs.

A row holds a code for each choice of the space: the position of its option, or the number of its
options where the choice is inactive. Equal architectures have equal rows. Rows come as one array
(choices, n), so that all codes of a choice lie side by side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from vitsearch.spaces import Architecture, SearchSpace, Value

Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class RowFormat:
    """What the codes of one space mean."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._index = {choice.name: index for index, choice in enumerate(space.choices)}
        self._items = [
            [*((choice.name, option) for option in choice.options), None]
            for choice in space.choices
        ]
        self._code: list[dict[Value | None, int]] = [
            {value: code for code, value in enumerate((*choice.options, None))}
            for choice in space.choices
        ]
        self._conditions = [
            [
                (self._index[condition.name], self.holds(condition.name, condition.values))
                for condition in choice.active_when
                if condition.name in self._index
            ]
            for choice in space.choices
        ]

    def index(self, name: str) -> int:
        """Which code of a row is a choice's."""
        return self._index[name]

    def values(self, name: str) -> tuple[Value | None, ...]:
        """The option of each code of a choice; the last code means inactive: `choice.otherwise`."""
        choice = self.space.choices[self._index[name]]
        return (*choice.options, choice.otherwise)

    def holds(self, name: str, values: Collection[Value]) -> Mask:
        """For each code of a choice, whether it stands for one of `values`."""
        return np.array([value in values for value in self.values(name)])

    def varies(self, name: str) -> bool:
        """Whether rows differ in the code of a choice: not if it is always active, and fixed."""
        choice = self.space.choices[self._index[name]]
        return len(choice.options) > 1 or bool(choice.active_when)

    def read(self, names: Iterable[str], codes: Codes, row: int) -> dict[str, Value | None]:
        """What the codes of some choices stand for in one row, by name."""
        return {name: self.values(name)[codes[self._index[name], row]] for name in names}

    def keys(self, names: Iterable[str], codes: Codes, more: Codes | int = 0) -> Codes:
        """One number (n,) for the codes of some choices and `more`; equal where all of them are."""
        keys = np.zeros(codes.shape[1], dtype=np.int64) + more
        for name in names:
            if self.varies(name):
                index = self._index[name]
                keys *= len(self.space.choices[index].options) + 1
                keys += codes[index]
        return keys

    def any_above_0(self, names: Iterable[str], codes: Codes) -> Mask:
        """In which rows (n,) one of some choices has an option above 0."""
        found = np.zeros(codes.shape[1], dtype=np.bool_)
        for name in names:
            found |= np.array(list(map(bool, self.values(name))))[codes[self._index[name]]]
        return found

    def drop_inactive(self, codes: Codes) -> Codes:
        """The rows of genotypes made canonical, in place: inactive choices lose their option."""
        for index, conditions in enumerate(self._conditions):
            for earlier, holds in conditions:
                inactive = ~holds[codes[earlier]]
                codes[index, inactive] = len(self.space.choices[index].options)
        return codes

    def encode(self, architectures: Sequence[Architecture]) -> Codes:
        """The rows of architectures.

        Raises:
            SpaceError: One of them is not legal in the space.
        """
        codes = np.empty((len(architectures), len(self._index)), dtype=np.int64)
        try:
            for row, architecture in enumerate(architectures):
                taken = map(architecture.to_dict().get, self._index)
                codes[row] = [code[value] for code, value in zip(self._code, taken, strict=True)]
        except KeyError:
            self.space.validate(architecture)
            raise
        return np.ascontiguousarray(codes.T)

    def decode(self, row: Iterable[int]) -> Architecture:
        """The architecture of one row of plain numbers."""
        items = [named[code] for named, code in zip(self._items, row, strict=True)]
        return Architecture(dict([item for item in items if item is not None]))
