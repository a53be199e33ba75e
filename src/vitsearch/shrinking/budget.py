"""A budget as people write it: a share of the full network's MACs, or a number of MACs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitsearch.costs.metrics import SUFFIXES, human
from vitsearch.errors import ConstraintError
from vitsearch.errors.checks import is_number
from vitsearch.spaces import Cost, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a network may cost at most.

    Attributes:
        macs: MACs of one image.
        name: For folders and tables, such as `50%` or `2.3G`.
    """

    macs: float
    name: str


def read_budget(value: float | str, full: Cost) -> Budget:
    """A budget from what a user wrote.

    Args:
        value: A number up to 1, or a percentage such as `55%`: a share of the full network's MACs.
            A larger number, or one with K, M or G: MACs.
        full: Of the network that is to be made smaller.

    Raises:
        ConstraintError: It is none of these.
    """
    text = str(value).strip()
    number = _number(text[:-1]) if text.endswith("%") else _number(text)
    if isinstance(value, bool) or number is None or number <= 0:
        raise ConstraintError(
            f"budgets: {value!r} is no budget; give a share of the network's MACs (0.5 or 50%), or "
            f"MACs (a number above 1, or one with K, M or G)"
        )
    if text.endswith("%"):
        return Budget(macs=number / 100 * full.macs, name=f"{number:g}%")
    if number <= 1:
        return Budget(macs=number * full.macs, name=f"{100 * number:g}%")
    return Budget(macs=number, name=human(number).replace(" ", ""))


def read_budgets(
    values: Sequence[float | str] | float | str, space: SearchSpace, full: Cost, num_classes: int
) -> tuple[Budget, ...]:
    """Budgets, the largest first, none of which is below the smallest network.

    Raises:
        ConstraintError: There is none, one is malformed or given twice, or one is out of reach.
    """
    several = isinstance(values, Sequence) and not isinstance(values, str)
    listed: list[float | str] = list(values) if several else [values]  # type: ignore[arg-type,list-item]
    budgets = [read_budget(value, full) for value in listed]
    if not budgets:
        raise ConstraintError("budgets is an empty list; give at least one, such as [0.75, 0.5]")
    if len({budget.macs for budget in budgets}) < len(budgets):
        raise ConstraintError(f"budgets={listed} has a budget twice")
    smallest = space.extreme("macs", largest=False, num_classes=num_classes)[1].macs
    for budget in budgets:
        if budget.macs < smallest:
            raise ConstraintError(
                f"budgets: {budget.name} is {human(budget.macs)} MACs, below the smallest network "
                f"({human(smallest)}, {smallest / full.macs:.0%} of the full one)"
            )
    return tuple(sorted(budgets, key=lambda budget: -budget.macs))


def _number(text: str) -> float | None:
    scale = SUFFIXES.get(text[-1:].upper())
    try:
        found = float(text) if scale is None else float(text[:-1]) * scale
    except ValueError:
        return None
    return found if is_number(found) and found < float("inf") else None
