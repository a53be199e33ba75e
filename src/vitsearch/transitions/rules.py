"""The rules by name."""

from __future__ import annotations

from typing import ClassVar, Protocol

from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.transitions.by_rule import CheaperTransitions, Table, TableTransitions
from vitsearch.transitions.decision import Walk
from vitsearch.transitions.within import BudgetTransitions

RULES = {
    "cheaper": "no slot may become dearer",
    "within": "slots may become dearer where others pay for it",
    "table": "what each value may become is written down",
}


class Transitions(Protocol):
    """What a given architecture may become.

    Attributes:
        rule: Its name.
        space: Whose architectures.
    """

    rule: ClassVar[str]
    space: SearchSpace

    def walk(self, given: Architecture) -> Walk:
        """The decisions of a transformation."""

    def allows(self, given: Architecture, other: Architecture) -> bool:
        """Whether some walk leads from a given architecture to another one of the space."""


def make_transitions(
    space: SearchSpace,
    rule: str = "cheaper",
    *,
    constraint: Constraint | None = None,
    table: Table | None = None,
    num_classes: int = 1000,
) -> Transitions:
    """The transitions of a rule.

    Args:
        space: Whose architectures.
        rule: A name of `RULES`.
        constraint: Of rule `within`: a budget below the given architecture's own cost.
        table: Of rule `table`: what each value may become.
        num_classes: Of the classifier, whose cost counts.

    Raises:
        ConfigError: No such rule, or a table without the rule, or the rule without a table.
    """
    if rule not in RULES:
        raise ConfigError(f"rule={rule} is not known; legal: {', '.join(RULES)}")
    if (table is not None) != (rule == "table"):
        raise ConfigError(
            f"table goes with rule=table, not with rule={rule}"
            if table is not None
            else "rule=table needs a table"
        )
    if table is not None:
        return TableTransitions(space, table, num_classes=num_classes)
    if rule == "within":
        return BudgetTransitions(space, constraint, num_classes=num_classes)
    return CheaperTransitions(space, num_classes=num_classes)
