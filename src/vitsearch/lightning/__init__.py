"""LightningModules and callbacks: training a super-transformer and searching it."""

from vitsearch.lightning.checkpointing import SupernetCheckpoint
from vitsearch.lightning.classifier import SearchableClassifier
from vitsearch.lightning.metrics_file import MetricsFile
from vitsearch.lightning.rewiring import Rewiring
from vitsearch.lightning.sampling import MultiArchitectureSampling
from vitsearch.lightning.searching import EvolutionarySearch
from vitsearch.lightning.standalone import StandaloneClassifier
from vitsearch.lightning.timing import TrainingTime

__all__ = [
    "EvolutionarySearch",
    "MetricsFile",
    "MultiArchitectureSampling",
    "Rewiring",
    "SearchableClassifier",
    "StandaloneClassifier",
    "SupernetCheckpoint",
    "TrainingTime",
]
