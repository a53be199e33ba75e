"""Which units go at a shrink: the dead ones, then those that matter least for what they cost.

A choice moves by whole options, so units go in the steps that the space has. Nothing goes that
would leave no way into the window.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from vitsearch.shrinking.progressive.ladder import Ladder, Place, Window

Importance = Mapping[str, Sequence[float]]
"""For each choice the importance of its units, in descending order."""


def without_dead(
    ladder: Ladder, place: Place, importance: Importance, threshold: float, window: Window
) -> Place:
    """The place that is left when dead units go.

    Args:
        ladder: The places.
        place: Today's.
        importance: Of today's units.
        threshold: What is at most as important is dead.
        window: What must still be reached afterwards.
    """
    for name, index in place.items():
        alive = sum(size > threshold for size in importance[name])
        wanted = bisect_left(ladder.units[name].counts, alive)
        for option in range(min(wanted, index), index):
            fewer = {**place, name: option}
            if ladder.reaches(fewer, window):
                place = fewer
                break
    return place


def down_to(
    ladder: Ladder, place: Place, importance: Importance, target: float, window: Window
) -> Place:
    """The place that is left when units go until the network costs no more than a target.

    Each step takes the option whose units have the least importance for the cost that they save.

    Args:
        ladder: The places.
        place: Today's.
        importance: Of today's units.
        target: The cost that is wanted.
        window: What must still be reached afterwards.
    """
    heap = [
        (_loss(ladder, place, name, importance[name]), name)
        for name in place
        if ladder.price(place, name) > 0
    ]
    heapify(heap)
    cost = ladder.cost(place)
    while heap and cost > target:
        _, name = heappop(heap)
        fewer = {**place, name: place[name] - 1}
        if not ladder.reaches(fewer, window):
            continue  # nor will it with fewer units of others
        place, cost = fewer, ladder.cost(fewer)
        if ladder.price(place, name) > 0:
            heappush(heap, (_loss(ladder, place, name, importance[name]), name))
    return place


def _loss(ladder: Ladder, place: Place, choice: str, importance: Sequence[float]) -> float:
    """The importance that goes with an option less, for each MAC that it saves."""
    counts, index = ladder.units[choice].counts, place[choice]
    going = sum(importance[counts[index - 1] : counts[index]])
    return going / (ladder.saved(choice, index - 1) - ladder.saved(choice, index))
