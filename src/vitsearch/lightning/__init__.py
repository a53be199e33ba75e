"""LightningModules and callbacks: training a super-transformer and searching it."""

from vitsearch.lightning.checkpointing import NetworkCheckpoint, SupernetCheckpoint
from vitsearch.lightning.classifier import SearchableClassifier
from vitsearch.lightning.metrics_file import MetricsFile
from vitsearch.lightning.network_classifier import Classifier
from vitsearch.lightning.rewiring import Rewiring
from vitsearch.lightning.sampling import MultiArchitectureSampling
from vitsearch.lightning.saving_network import SaveNetwork
from vitsearch.lightning.searching import EvolutionarySearch
from vitsearch.lightning.timing import TrainingTime

__all__ = [
    "Classifier",
    "EvolutionarySearch",
    "MetricsFile",
    "MultiArchitectureSampling",
    "NetworkCheckpoint",
    "Rewiring",
    "SaveNetwork",
    "SearchableClassifier",
    "SupernetCheckpoint",
    "TrainingTime",
]
