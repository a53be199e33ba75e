"""A network that people have, made smaller: from a calibrated super-transformer to its budgets.

SuperTransformer + Calibration -> Profile -> candidates -> Elastic -> network for a budget
"""

from vitsearch.shrinking.budget import Budget, read_budget
from vitsearch.shrinking.elastic_network import Elastic, FrontPoint
from vitsearch.shrinking.fidelity import Fidelity
from vitsearch.shrinking.profile import Profile, profile_branches
from vitsearch.shrinking.search import finalist, first_candidates, shrink
from vitsearch.shrinking.storage import load_elastic, save_elastic
from vitsearch.shrinking.uniform import UniformCuts

__all__ = [
    "Budget",
    "Elastic",
    "Fidelity",
    "FrontPoint",
    "Profile",
    "UniformCuts",
    "finalist",
    "first_candidates",
    "load_elastic",
    "profile_branches",
    "read_budget",
    "save_elastic",
    "shrink",
]
