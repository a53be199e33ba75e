"""LightningModules and callbacks: training a super-transformer and searching it."""

from vitsearch.lightning.progressive.callback import ProgressiveShrinking
from vitsearch.lightning.resuming.checkpoints import NetworkCheckpoint, SupernetCheckpoint
from vitsearch.lightning.resuming.metrics_csv import MetricsFile
from vitsearch.lightning.resuming.timing import TrainingTime
from vitsearch.lightning.retraining.save_network import SaveNetwork
from vitsearch.lightning.search.callback import EvolutionarySearch
from vitsearch.lightning.training.architecture_sampling import MultiArchitectureSampling
from vitsearch.lightning.training.network_module import Classifier
from vitsearch.lightning.training.progress_bar import training_progress
from vitsearch.lightning.training.rewiring import Rewiring
from vitsearch.lightning.training.segmenters import SearchableSegmenter, Segmenter
from vitsearch.lightning.training.supernet_module import SearchableClassifier

__all__ = [
    "Classifier",
    "EvolutionarySearch",
    "MetricsFile",
    "MultiArchitectureSampling",
    "NetworkCheckpoint",
    "ProgressiveShrinking",
    "Rewiring",
    "SaveNetwork",
    "SearchableClassifier",
    "SearchableSegmenter",
    "Segmenter",
    "SupernetCheckpoint",
    "TrainingTime",
    "training_progress",
]
