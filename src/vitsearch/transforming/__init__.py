"""Given architectures made better: a policy that learns which of their parts to replace."""

from vitsearch.transforming.function import transform
from vitsearch.transforming.policy import Policy, Transformation
from vitsearch.transforming.searcher import TransformerSearcher
from vitsearch.transforming.searchers import parameters_of, transforming_searcher
from vitsearch.transforming.storage import load_policy, save_policy

__all__ = [
    "Policy",
    "Transformation",
    "TransformerSearcher",
    "load_policy",
    "parameters_of",
    "save_policy",
    "transform",
    "transforming_searcher",
]
