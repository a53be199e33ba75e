"""LightningModules and callbacks: training a super-transformer and searching it."""

from vitsearch.lightning.checkpointing import SupernetCheckpoint
from vitsearch.lightning.classifier import SearchableClassifier
from vitsearch.lightning.metrics_file import MetricsFile
from vitsearch.lightning.sampling import MultiArchitectureSampling
from vitsearch.lightning.searching import EvolutionarySearch

__all__ = [
    "EvolutionarySearch",
    "MetricsFile",
    "MultiArchitectureSampling",
    "SearchableClassifier",
    "SupernetCheckpoint",
]
