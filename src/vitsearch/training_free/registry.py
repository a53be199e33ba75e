"""Every training-free score by its name."""

from __future__ import annotations

from vitsearch.errors.checks import check_one_of
from vitsearch.training_free.az_expressivity import AZ_EXPRESSIVITY
from vitsearch.training_free.az_nas import AZ_NAS
from vitsearch.training_free.az_trainability import AZ_TRAINABILITY
from vitsearch.training_free.base import TrainingFreeScore
from vitsearch.training_free.dss import DSS
from vitsearch.training_free.macs import MACS
from vitsearch.training_free.naswot import NASWOT
from vitsearch.training_free.params import PARAMS
from vitsearch.training_free.synflow import SYNFLOW

SCORES: dict[str, TrainingFreeScore] = {
    score.name: score
    for score in (MACS, PARAMS, SYNFLOW, NASWOT, AZ_NAS, AZ_EXPRESSIVITY, AZ_TRAINABILITY, DSS)
}
"""The scores there are."""


def find_score(name: str) -> TrainingFreeScore:
    """The score with this name.

    Raises:
        ConfigError: There is none.
    """
    return SCORES[check_one_of("training_free", name, list(SCORES))]
