"""How architectures are proposed."""

from vitsearch.searchers.base import Candidate, Searcher
from vitsearch.searchers.evolution import EvolutionSearcher

__all__ = ["Candidate", "EvolutionSearcher", "Searcher"]
