"""Given architectures made better: a policy that learns which of their parts to replace."""

from vitsearch.transforming.policy import Policy, Transformation
from vitsearch.transforming.searcher import TransformerSearcher

__all__ = ["Policy", "Transformation", "TransformerSearcher"]
