"""What networks cost, and budgets on it."""

from vitsearch.costs.constraint import Constraint, human, reachable_range
from vitsearch.costs.measure import MeasureSettings
from vitsearch.costs.table import CostModel, cost, cost_table
from vitsearch.spaces.cost import Cost

__all__ = [
    "Constraint",
    "Cost",
    "CostModel",
    "MeasureSettings",
    "cost",
    "cost_table",
    "human",
    "reachable_range",
]
