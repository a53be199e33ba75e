"""What a shrink decides, from factors and prices: which units go, and how strong the penalty is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitsearch.lightning.progressive.settings import ShrinkSettings
from vitsearch.shrinking.progressive.ladder import Ladder, Place
from vitsearch.shrinking.progressive.penalty import cost_target, follow_gap
from vitsearch.shrinking.progressive.selection import down_to, without_dead
from vitsearch.shrinking.progressive.units import UnitGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What comes next.

    Attributes:
        place: What is left.
        rho: Strength of the penalty from now on.
    """

    place: Place
    rho: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is.

    Attributes:
        step: Updates so far.
        steps: Of the whole training.
        start: The cost of the network before anything went.
    """

    step: int
    steps: int
    start: int

    @property
    def is_last(self) -> bool:
        """Whether training has ended."""
        return self.step >= self.steps


def unit_importance(
    live: Mapping[str, Tensor], averaged: Mapping[str, Tensor], *, average_alone: bool
) -> dict[str, Tensor]:
    """(units,) for each axis: the larger one of a factor and its average, in absolute value.

    So a unit is dead only where both are small.

    Args:
        live: Factors, by the weight that reads the units.
        averaged: Their averages.
        average_alone: Whether the averages decide.
    """
    found = {}
    for name, values in averaged.items():
        size = values.detach().double().abs().cpu()
        if not average_alone:
            size = torch.maximum(size, live[name].detach().double().abs().cpu())
        found[name] = size
    return found


def decide(
    ladder: Ladder,
    groups: Mapping[str, UnitGroup],
    place: Place,
    importance: Mapping[str, Tensor],
    *,
    settings: ShrinkSettings,
    progress: Progress,
    rho: float,
) -> Decision:
    """Which units go now.

    Args:
        ladder: The architectures that can be passed, with their costs.
        groups: The units by choice.
        place: Today's architecture.
        importance: (units,) for each axis, by the weight that reads its units.
        settings: What was asked for.
        progress: How far the training is.
        rho: Today's strength of the penalty.
    """
    by_choice = {choice: _descending(groups[choice], importance) for choice in place}
    window = settings.window
    alive = without_dead(ladder, place, by_choice, settings.threshold, window)
    if settings.published:
        saved = ladder.cost(place) - ladder.cost(alive)
        enough = progress.is_last or saved >= settings.least_dead_macs
        return Decision(place=alive if enough else place, rho=rho)
    target = cost_target(
        progress.step,
        progress.steps,
        start=progress.start,
        end=min(window[1], progress.start),
        reached=settings.reached,
    )
    gap = (ladder.cost(alive) - target) / progress.start
    following = down_to(ladder, alive, by_choice, target, window)
    return Decision(place=following, rho=follow_gap(rho, settings.rho, gap))


def _descending(group: UnitGroup, importance: Mapping[str, Tensor]) -> list[float]:
    """The importance of the units of a choice; of several axes the most at each place."""
    ordered = [
        importance[axis.reader].sort(descending=True).values
        for axis in group.axes
        if axis.reader in importance
    ]
    if not ordered:
        return []
    found: list[float] = torch.stack(ordered).amax(0).tolist()
    return found
