"""Scores of architectures that nothing is trained for: closed forms, and one look at fresh weights.

They are to be compared with MACs (see `vitsearch.audit`); none of them chooses anything by itself.
"""

from vitsearch.training_free.base import Candidate, Requirement, TrainingFreeScore
from vitsearch.training_free.registry import SCORES, find_score
from vitsearch.training_free.scores import training_free_scores, undefined_scores

__all__ = [
    "SCORES",
    "Candidate",
    "Requirement",
    "TrainingFreeScore",
    "find_score",
    "training_free_scores",
    "undefined_scores",
]
