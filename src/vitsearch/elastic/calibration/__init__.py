"""Closed-form repair of a network whose units are cut: statistics, least squares, orders of units.

Pure functions of tensors. A layer's inputs are observed once (`Moments`); from them follow which
units matter (`selection`, `logits`, `values`) and which weights make up for those removed
(`repair`, `prefixes`). No gradients and no labels.
"""

from vitsearch.elastic.calibration.logits import LogitMaps, PairFactors, logit_maps, rotary_order
from vitsearch.elastic.calibration.moments import CrossMoments, Moments
from vitsearch.elastic.calibration.prefixes import PrefixRepair
from vitsearch.elastic.calibration.repair import fold, refit
from vitsearch.elastic.calibration.selection import (
    UnitOrder,
    backward_order,
    forward_order,
    variance_order,
)
from vitsearch.elastic.calibration.values import ValueBasis, value_basis

__all__ = [
    "CrossMoments",
    "LogitMaps",
    "Moments",
    "PairFactors",
    "PrefixRepair",
    "UnitOrder",
    "ValueBasis",
    "backward_order",
    "fold",
    "forward_order",
    "logit_maps",
    "refit",
    "rotary_order",
    "value_basis",
    "variance_order",
]
