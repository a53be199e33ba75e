"""What a training that shrinks must remember, besides weights, to go on as if nothing had been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vitsearch.runs.formats import with_format, without_format


@dataclass(slots=True, kw_only=True)
class ShrinkingState:
    """Changes from step to step, and is part of every checkpoint.

    Attributes:
        averaged: (units,) averages of the factors of each axis, by the weight that reads its units.
        averaged_at: The update after which they moved last.
        rho: Strength of the penalty.
        mean: The mean price of a unit, before anything went.
        start: The cost of the network, before anything went.
        looked_at: The update before which it was decided last what goes.
        shrinks: A record of each shrink.
        finished: Whether the last one is done and the gates are folded.
    """

    averaged: dict[str, Tensor]
    rho: float
    mean: float
    start: int
    averaged_at: int = 0
    looked_at: int = 0
    shrinks: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False

    def average(self, factors: Mapping[str, Tensor], step: int, decay: float) -> None:
        """Move the averages by the factors after an update; at first they follow closely."""
        if step <= self.averaged_at:
            return
        self.averaged_at = step
        share = 1 - min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, values in factors.items():
                before = self.averaged[name].to(values)
                self.averaged[name] = before.lerp(values.detach(), share)

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return with_format(
            {
                "averaged": {name: values.cpu() for name, values in self.averaged.items()},
                "rho": self.rho,
                "mean": self.mean,
                "start": self.start,
                "averaged_at": self.averaged_at,
                "looked_at": self.looked_at,
                "shrinks": list(self.shrinks),
                "finished": self.finished,
            }
        )

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], source: str) -> ShrinkingState:
        """From a checkpoint.

        Raises:
            FormatError: A newer version has written it.
        """
        return cls(**without_format(found, source))
