"""How architectures are proposed."""

from vitsearch.searchers.base import Candidate, FrontSearcher, Searcher
from vitsearch.searchers.budget import Budget
from vitsearch.searchers.evolution import EvolutionSearcher
from vitsearch.searchers.front import hypervolume, pareto_front
from vitsearch.searchers.local_search import LocalSearcher
from vitsearch.searchers.neighbours import neighbours
from vitsearch.searchers.nsga2 import Nsga2Searcher
from vitsearch.searchers.optuna import OptunaSearcher
from vitsearch.searchers.predictor import PredictorSearcher, best_predicted
from vitsearch.searchers.random_search import RandomSearcher
from vitsearch.searchers.regularized_evolution import RegularizedEvolutionSearcher
from vitsearch.searchers.ridge import RidgeEnsemble

__all__ = [
    "Budget",
    "Candidate",
    "EvolutionSearcher",
    "FrontSearcher",
    "LocalSearcher",
    "Nsga2Searcher",
    "OptunaSearcher",
    "PredictorSearcher",
    "RandomSearcher",
    "RegularizedEvolutionSearcher",
    "RidgeEnsemble",
    "Searcher",
    "best_predicted",
    "hypervolume",
    "neighbours",
    "pareto_front",
]
