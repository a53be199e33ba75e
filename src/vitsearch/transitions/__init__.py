"""Which architectures a given one may become: the valid replacements, decision by decision."""

from vitsearch.transitions.changes import Change, changes
from vitsearch.transitions.decision import Decision, Walk, outcomes
from vitsearch.transitions.rules import RULES, Transitions, make_transitions

__all__ = [
    "RULES",
    "Change",
    "Decision",
    "Transitions",
    "Walk",
    "changes",
    "make_transitions",
    "outcomes",
]
