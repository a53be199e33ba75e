"""MACs of one image: what every other score has to beat."""

from __future__ import annotations

from vitsearch.training_free.base import TrainingFreeScore

MACS = TrainingFreeScore(
    name="macs",
    title="MACs",
    paper="multiply-accumulates of one image",
    needs="nothing: a closed form",
    compute=lambda candidate: float(candidate.cost().macs),
)
