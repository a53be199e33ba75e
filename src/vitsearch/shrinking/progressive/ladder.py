"""The architectures that a shrinking can pass: one option for each choice that counts units.

Every other choice stays as it is. Costs are closed forms, and those of different choices add up, so
all that can still be reached from a place is known exactly (to a thousandth of the window).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.choice import Value

Place = dict[str, int]
"""For each choice the index of its option."""
Window = tuple[float, float]
_STEPS_OF_WINDOW, _STEPS_OF_COST = 1000, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedUnits:
    """How many units each option of a choice stands for.

    Attributes:
        choice: Its name.
        options: In ascending order.
        counts: Units of each option, in ascending order.
    """

    choice: str
    options: tuple[Value, ...]
    counts: tuple[int, ...]


class Ladder:
    """Costs and prices of what is left of a network when units go.

    Attributes:
        units: By choice.
        start: Every choice at its largest option.
    """

    def __init__(
        self,
        space: SearchSpace,
        units: Mapping[str, CountedUnits],
        *,
        metric: str = "macs",
        num_classes: int = 0,
    ) -> None:
        """Set up.

        Args:
            space: Whose largest architecture is the start.
            units: What its choices count.
            metric: The closed form that counts; one that adds up over the pieces of a network.
            num_classes: Of the classifier, whose cost counts.
        """
        self.units = dict(units)
        self.start: Place = {name: len(own.options) - 1 for name, own in units.items()}
        self._space, self._metric, self._num_classes = space, metric, num_classes
        self._largest = space.largest().to_dict()
        self._whole = self._cost(self.architecture(self.start))
        self._saved: dict[tuple[str, int], int] = {}

    def architecture(self, place: Place) -> Architecture:
        """The architecture of a place."""
        chosen = {name: self.units[name].options[index] for name, index in place.items()}
        return self._space.canonical({**self._largest, **chosen})

    def cost(self, place: Place) -> int:
        """What it costs."""
        return self._whole - sum(self.saved(name, index) for name, index in place.items())

    def saved(self, choice: str, index: int) -> int:
        """How much less the largest network costs with another option of one choice."""
        if index == self.start[choice]:
            return 0
        key = choice, index
        if key not in self._saved:
            one_less = self.architecture({**self.start, choice: index})
            self._saved[key] = self._whole - self._cost(one_less)
        return self._saved[key]

    def adds_up(self) -> bool:
        """Whether what choices save adds up, from the largest network to the smallest."""
        smallest = self.smallest()
        return self.cost(smallest) == self._cost(self.architecture(smallest))

    def _cost(self, architecture: Architecture) -> int:
        return self._space.plan(architecture).cost(self._num_classes)[self._metric]

    def price(self, place: Place, choice: str) -> float:
        """What one unit of a choice costs: the saving of one option less, by the units that go.

        At the smallest option it is 0: nothing can go.
        """
        index, counts = place[choice], self.units[choice].counts
        if index == 0:
            return 0.0
        saved = self.saved(choice, index - 1) - self.saved(choice, index)
        return saved / (counts[index] - counts[index - 1])

    def counts(self, place: Place) -> dict[str, int]:
        """The units of each choice."""
        return {name: self.units[name].counts[index] for name, index in place.items()}

    def smallest(self) -> Place:
        """Every choice at its smallest option."""
        return dict.fromkeys(self.units, 0)

    def reaches(self, place: Place, window: Window) -> bool:
        """Whether some place at or below this one costs as much as the window allows.

        A sum of one number for each choice is looked for, in steps of a thousandth of the window:
        bit i of a whole number says whether i steps can be saved.
        """
        cost, (low, high) = self.cost(place), window
        if low <= cost <= high:
            return True
        if cost < low:
            return False
        end = self.cost(self.smallest())
        if end >= low:
            return end <= high
        width = high - low
        step = max(width / _STEPS_OF_WINDOW, self._whole / _STEPS_OF_COST, 1.0)
        limit = (1 << (floor((cost - low) / step) + 1)) - 1
        found = 1
        for name, index in place.items():
            here = self.saved(name, index)
            ways = {round((self.saved(name, i) - here) / step) for i in range(index + 1)}
            following = 0
            for way in ways:
                following |= found << way
            found = following & limit
        return bool(found >> ceil((cost - high) / step))
