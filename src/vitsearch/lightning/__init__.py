"""LightningModules and callbacks: training a super-transformer and searching it."""

from vitsearch.lightning.checkpointing import SupernetCheckpoint
from vitsearch.lightning.classifier import SearchableClassifier
from vitsearch.lightning.rewiring import Rewiring
from vitsearch.lightning.sampling import MultiArchitectureSampling
from vitsearch.lightning.searching import EvolutionarySearch

__all__ = [
    "EvolutionarySearch",
    "MultiArchitectureSampling",
    "Rewiring",
    "SearchableClassifier",
    "SupernetCheckpoint",
]
