"""What a shrinking looks for: budgets by their names, and where the search looks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitsearch.costs import Constraint, human
from vitsearch.costs.metrics import named
from vitsearch.errors import ConfigError
from vitsearch.searchers import Candidate
from vitsearch.shrinking import Budget, Profile, first_candidates
from vitsearch.shrinking.budget import read_budgets
from vitsearch.spaces import Architecture, Cost, SearchSpace

BUDGETS = (0.75, 0.5)
_MARGIN = 0.9  # of the smallest budget: the search looks at networks from there on
_WINDOW = 0.7  # of a window's end, where its beginning is open
_SMALLEST = 0.1  # of the full network, where no budget is in MACs


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One budget.

    Attributes:
        name: Of its folder, and in tables.
        constraint: What a network for it holds.
        macs: The most MACs that it may have; `None` where MACs are free.
    """

    name: str
    constraint: Constraint
    macs: float | None

    def holds(self, candidate: Candidate, cost: Cost) -> bool:
        """Whether a candidate is inside the budget."""
        windows = self.constraint.measured_windows().items()
        return self.constraint.holds(cost) and all(
            low <= candidate.measured[name] <= high for name, (low, high) in windows
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """All budgets of a shrinking, the largest first.

    Attributes:
        each: The budgets.
        constraint: What every candidate of the search holds.
    """

    each: tuple[Target, ...]
    constraint: Constraint

    def initial(self, profile: Profile, full: Cost, largest: Architecture) -> list[Architecture]:
        """What the search begins with: the profile's best for each budget and between them."""
        low, high = self.constraint.all_windows().get("macs", (0.0, full.macs))
        ends = [max(low, profile.cheapest, _SMALLEST * full.macs), min(high, full.macs)]
        limits = {*ends, *(t.macs for t in self.each if t.macs is not None)}
        budgets = [Budget(macs=macs, name=human(macs)) for macs in sorted(limits)]
        return first_candidates(profile, budgets, ends[1], largest)


def read_targets(
    budgets: Sequence[float | str] | float | str | None,
    constraint: Constraint,
    space: SearchSpace,
    full: Cost,
    num_classes: int,
) -> Targets:
    """Budgets as a user gave them.

    Args:
        budgets: Shares of the full network's MACs, or MACs; `None`: three quarters and a half, or,
            where the constraint has windows, the windows alone.
        constraint: Windows that every network holds.
        space: Of the converted network.
        full: What the full network costs.
        num_classes: Of the classifier.

    Raises:
        ConfigError: Budgets and a window on MACs are given.
        ConstraintError: A budget is malformed or out of reach.
    """
    windows = constraint.all_windows()
    if budgets is None and windows:
        return _of_windows(constraint, windows)
    if "macs" in windows:
        raise ConfigError(
            "budgets and constraint.macs both limit MACs; give one of them (budgets=null leaves "
            "the windows alone)"
        )
    read = read_budgets(BUDGETS if budgets is None else budgets, space, full, num_classes)
    names = [budget.name for budget in read]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"budgets has two that are called {name}; give one of them")
    constraint.check_reachable(space, num_classes)
    return Targets(
        each=tuple(
            Target(
                name=budget.name,
                constraint=constraint.with_window("macs", (None, budget.macs)),
                macs=budget.macs,
            )
            for budget in read
        ),
        constraint=constraint.with_window("macs", (_MARGIN * read[-1].macs, full.macs)),
    )


def _of_windows(constraint: Constraint, windows: Mapping[str, tuple[float, float]]) -> Targets:
    name, (low, high) = next(iter(windows.items()))
    text = named(name).text(high if high < float("inf") else low).replace(" ", "")
    most = windows.get("macs", (0.0, float("inf")))[1]
    target = Target(
        name=text if name == "macs" else f"{name}-{text}",
        constraint=constraint,
        macs=most if most < float("inf") else None,
    )
    searched = constraint
    if target.macs is not None and not windows["macs"][0]:
        searched = constraint.with_window("macs", (_WINDOW * target.macs, target.macs))
    return Targets(each=(target,), constraint=searched)
