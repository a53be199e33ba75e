"""How architectures are proposed."""

from vitsearch.searchers.base import Candidate, FrontSearcher, Searcher
from vitsearch.searchers.budget import Budget
from vitsearch.searchers.evolution import EvolutionSearcher
from vitsearch.searchers.front import hypervolume, pareto_front
from vitsearch.searchers.nsga2 import Nsga2Searcher
from vitsearch.searchers.random_search import RandomSearcher

__all__ = [
    "Budget",
    "Candidate",
    "EvolutionSearcher",
    "FrontSearcher",
    "Nsga2Searcher",
    "RandomSearcher",
    "Searcher",
    "hypervolume",
    "pareto_front",
]
