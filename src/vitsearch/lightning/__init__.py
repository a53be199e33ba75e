"""LightningModules and callbacks: training a super-transformer and searching it."""

from vitsearch.lightning.checkpointing import SupernetCheckpoint
from vitsearch.lightning.classifier import SearchableClassifier
from vitsearch.lightning.sampling import MultiArchitectureSampling
from vitsearch.lightning.searching import EvolutionarySearch
from vitsearch.lightning.standalone import StandaloneClassifier

__all__ = [
    "EvolutionarySearch",
    "MultiArchitectureSampling",
    "SearchableClassifier",
    "StandaloneClassifier",
    "SupernetCheckpoint",
]
