"""Training objectives: terms of a loss that add up, by configuration, on every space."""

from vitsearch.lightning.objectives.base import ImageFacts, Objective, StepOutputs
from vitsearch.lightning.objectives.cross_entropy import CrossEntropy
from vitsearch.lightning.objectives.feature_distillation import FeatureDistillation
from vitsearch.lightning.objectives.in_place_distillation import InPlaceDistillation
from vitsearch.lightning.objectives.keep_ratio import KeepRatio
from vitsearch.lightning.objectives.patch_token_mixup import PatchTokenMixup
from vitsearch.lightning.objectives.teacher import Teacher
from vitsearch.lightning.objectives.teacher_distillation import TeacherDistillation
from vitsearch.lightning.objectives.token_labelling import TokenLabelling
from vitsearch.lightning.objectives.weighted import OBJECTIVES, Term, WeightedObjectives

__all__ = [
    "OBJECTIVES",
    "CrossEntropy",
    "FeatureDistillation",
    "ImageFacts",
    "InPlaceDistillation",
    "KeepRatio",
    "Objective",
    "PatchTokenMixup",
    "StepOutputs",
    "Teacher",
    "TeacherDistillation",
    "Term",
    "TokenLabelling",
    "WeightedObjectives",
]
