"""What networks cost, and budgets on it."""

from vitsearch.costs.constraint import Constraint, reachable_range
from vitsearch.costs.measure import MeasureSettings, Subject
from vitsearch.costs.metrics import Metric, forget_metric, human, register_metric
from vitsearch.costs.table import CostModel, cost, cost_table
from vitsearch.spaces.cost import Cost

__all__ = [
    "Constraint",
    "Cost",
    "CostModel",
    "MeasureSettings",
    "Metric",
    "Subject",
    "cost",
    "cost_table",
    "forget_metric",
    "human",
    "reachable_range",
    "register_metric",
]
