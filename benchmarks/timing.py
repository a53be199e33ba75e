"""Timing side by side: every candidate once in each round, medians and ratios over the rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How everything is measured.

    Attributes:
        device: Where networks run.
        rounds: How often each candidate runs.
        batch: Images of a training step; `None` for what each case says.
        image_size: Of every space; `None` for its own.
        architectures: Numbers of architectures of a step; `None` for what each case says.
        spaces: Which spaces; `None` for those that each part says.
        dtype: Of autocast; float32 for none.
        clock: `wall`, or `cpu`: this process's processor time, for a machine with other work.
        quick: Demo sizes, and few repetitions.
        compile: Whether steps have their own networks compiled as a peer, too.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rounds: int = 5
    batch: int | None = None
    image_size: int | None = None
    architectures: tuple[int, ...] | None = None
    spaces: tuple[str, ...] | None = None
    dtype: torch.dtype = torch.float32
    clock: str = "wall"
    quick: bool = False
    compile: bool = False

    def autocast(self) -> torch.autocast:
        """The number format of networks."""
        on = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if on else None, enabled=on)


class Ratio(NamedTuple):
    """The median of ratios taken round by round, the lowest and the highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rounds:
    """Seconds of every candidate, round by round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, reference: str) -> Ratio:
        """How much one candidate takes beside another."""
        pairs = zip(self.seconds[name], self.seconds[reference], strict=True)
        ratios = [own / other for own, other in pairs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], settings: Settings, *, warmup: int = 1
) -> Rounds:
    """Time callables in interleaved rounds; each round starts with another one."""
    clock = CLOCKS[settings.clock]
    names = list(candidates)

    def timed(name: str) -> float:
        start = clock()
        candidates[name]()
        if settings.device.type == "cuda":
            torch.cuda.synchronize(settings.device)
        return clock() - start

    for _ in range(warmup):
        for name in names:
            timed(name)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(settings.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(timed(name))
    return Rounds(seconds)
