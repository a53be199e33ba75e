"""The architectures that are one change, or two, away from a given one.

A change gives one active choice another of its options. Choices that it makes inactive are dropped.
Those that it makes active take what the given architecture has at the nearest similar place: the
same choice of the nearest slot (its stage first, then its place; of two equally near the earlier).
Where that value is no option, the option at the same share of the way from the first to the last
is taken; where no similar choice is active, the middle one (of two the smaller). So equal
architectures have equal neighbours in equal order, without any random numbers; the way back may
be longer than one change.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

from vitsearch.spaces import Architecture, Choice, SearchSpace, Value

Change = tuple[str, Value]
_NUMBER = re.compile(r"\d+")


class Neighbourhood:
    """Single and double changes in one space.

    Attributes:
        space: Where the architectures are.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._free = [choice for choice in space.choices if len(choice.options) > 1]
        self._order = {choice.name: place for place, choice in enumerate(space.choices)}
        # Names that other choices depend on: only their changes make choices active or inactive.
        self._decisive = {c.name for choice in space.choices for c in choice.active_when}
        self._similar: dict[str, list[Choice]] = {}
        for choice in space.choices:
            self._similar.setdefault(_NUMBER.sub("*", choice.name), []).append(choice)

    def changes(self, architecture: Architecture) -> list[Change]:
        """All single changes: a choice and another of its options, in the order of the space."""
        taken = architecture.to_dict()
        return [
            (choice.name, option)
            for choice in self._free
            if choice.name in taken
            for option in choice.options
            if option != taken[choice.name]
        ]

    def apply(self, architecture: Architecture, change: Change) -> Architecture:
        """The architecture after a change of one of its active choices."""
        name, value = change
        taken = architecture.to_dict()
        if name not in self._decisive:
            return Architecture({**taken, name: value})
        taken[name] = value
        return self.space.complete(
            lambda c: taken[c.name] if c.name in taken else self._filled(c, architecture)
        )

    def singles(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture one change away, none twice."""
        return (self.apply(architecture, change) for change in self.changes(architecture))

    def doubles(
        self, architecture: Architecture, rng: random.Random, most: int
    ) -> Iterator[Architecture]:
        """Architectures two changes away, none twice: all where they are few, else random ones.

        The second change may be of a choice that the first made active. None of them is a single
        change.

        Args:
            architecture: Where to start.
            rng: Chooses among more than `most`; each is equally likely.
            most: How many to make.
        """
        firsts = self.changes(architecture)
        ends = list(accumulate(self._counts_behind(architecture, firsts)))
        total = ends[-1] if ends else 0
        picks = range(total) if total <= most else sorted(rng.sample(range(total), most))
        made: tuple[int, Architecture, list[Change]] | None = None
        for pick in picks:
            index = bisect_right(ends, pick)
            if made is None or made[0] != index:
                between = self.apply(architecture, firsts[index])
                made = index, between, self._behind(between, firsts[index][0])
            _, between, seconds = made
            yield self.apply(between, seconds[pick - ends[index]])  # counted from the end

    def random_change(self, architecture: Architecture, rng: random.Random) -> Architecture | None:
        """One active choice, each equally likely, with another option; `None` if all are fixed."""
        free = [choice for choice in self._free if choice.name in architecture]
        if not free:
            return None
        choice = rng.choice(free)
        others = [option for option in choice.options if option != architecture[choice.name]]
        return self.apply(architecture, (choice.name, rng.choice(others)))

    def is_change(self, architecture: Architecture, other: Architecture) -> bool:
        """Whether `other` is one change away from `architecture`."""
        for choice in self._free:  # the first that differs is the one that was changed
            name = choice.name
            if name in architecture and architecture[name] != other.get(name):
                return name in other and self.apply(architecture, (name, other[name])) == other
        return False

    def _behind(self, architecture: Architecture, name: str) -> list[Change]:
        """The changes of choices that come after `name` in the space."""
        place = self._order[name]
        return [change for change in self.changes(architecture) if self._order[change[0]] > place]

    def _counts_behind(self, architecture: Architecture, firsts: list[Change]) -> list[int]:
        """For each change, how many others can follow it."""
        sizes = dict.fromkeys((name for name, _ in firsts), 0)
        for name, _ in firsts:
            sizes[name] += 1
        behind, left = {}, len(firsts)
        for name, size in sizes.items():
            left -= size
            behind[name] = left
        return [
            len(self._behind(self.apply(architecture, (name, value)), name))
            if name in self._decisive
            else behind[name]
            for name, value in firsts
        ]

    def _filled(self, choice: Choice, architecture: Architecture) -> Value:
        """The option of a newly active choice."""
        similar = [
            other
            for other in self._similar[_NUMBER.sub("*", choice.name)]
            if other.name in architecture
        ]
        if not similar:
            return choice.options[(len(choice.options) - 1) // 2]
        nearest = min(
            similar, key=lambda other: (_distance(choice, other), self._order[other.name])
        )
        value = architecture[nearest.name]
        if value in choice.options:
            return choice.options[choice.options.index(value)]
        share = nearest.options.index(value) / max(len(nearest.options) - 1, 1)
        return choice.options[round(share * (len(choice.options) - 1))]


def neighbours(space: SearchSpace, architecture: Architecture) -> Iterator[Architecture]:
    """Every architecture that differs in one choice, none twice, in the order of the space.

    Raises:
        SpaceError: The architecture is not legal in the space.
    """
    space.validate(architecture)
    return neighbourhood(space).singles(architecture)


@lru_cache(maxsize=8)
def neighbourhood(space: SearchSpace) -> Neighbourhood:
    """The changes of a space; equal spaces share one."""
    return Neighbourhood(space)


def _distance(choice: Choice, other: Choice) -> tuple[int, ...]:
    numbers = [map(int, _NUMBER.findall(c.name)) for c in (choice, other)]
    return tuple(abs(one - two) for one, two in zip(*numbers, strict=True))
