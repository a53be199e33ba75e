"""Parameters: beside MACs, what every other score has to beat."""

from __future__ import annotations

from vitsearch.training_free.base import TrainingFreeScore

PARAMS = TrainingFreeScore(
    name="params",
    title="parameters",
    paper="the number of learned weights",
    needs="nothing: a closed form",
    compute=lambda candidate: float(candidate.cost().params),
)
