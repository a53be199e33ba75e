"""When training writes a checkpoint, and whether it ends: one decision, alike in all processes.

Clocks differ between processes and a signal may reach only one of them, so the processes agree in
a collective. It costs little: the first process says how many steps to go without the next one,
about a second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from vitsearch.lightning.distributed import largest_over_processes, rank_and_world
from vitsearch.runs.signals import wished

_AGREE_SECONDS = 1.0
_LARGEST_SHARE = 0.02  # of the time may go into writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What comes after a step.

    Attributes:
        write: Whether to write a checkpoint.
        signum: The signal that asks for an end, or 0.
    """

    write: bool = False
    signum: int = 0


class Pace:
    """Counts steps and seconds since the last checkpoint."""

    def __init__(self, *, seconds: float | None, steps: int | None) -> None:
        """Start the clock.

        Args:
            seconds: Between two checkpoints, at least; `None` for no limit by time.
            steps: Between two checkpoints; `None` for no limit by steps.
        """
        self._seconds = seconds
        self._steps = steps
        self._done = 0  # steps since the last checkpoint
        self._wait = 0  # steps until the processes agree again
        self._written = self._agreed = time.monotonic()
        self._since_agreed = 0
        self._cost = 0.0

    def wrote(self, seconds: float) -> None:
        """A checkpoint has just been written, and took so long."""
        self._cost = seconds
        self._done = 0
        self._written = time.monotonic()

    def after_step(self, device: torch.device) -> Decision:
        """Decide; every process calls this after every step at which it could write.

        Args:
            device: Where collectives take their tensors from.
        """
        self._done += 1
        self._since_agreed += 1
        by_steps = self._steps is not None and self._done >= self._steps
        if rank_and_world()[1] == 1:
            return Decision(write=by_steps or self._is_time() or bool(wished()), signum=wished())
        if self._wait:
            self._wait -= 1
            return Decision(write=by_steps)
        decision = self.agree(device)
        return Decision(write=decision.write or by_steps, signum=decision.signum)

    def agree(self, device: torch.device) -> Decision:
        """Decide now, in a collective of all processes."""
        first = rank_and_world()[0] == 0
        mine = [wished(), int(first and self._is_time()), self._pause() if first else 0]
        signum, is_time, self._wait = largest_over_processes(
            torch.tensor(mine, dtype=torch.int64, device=device)
        ).tolist()
        return Decision(write=bool(is_time or signum), signum=signum)

    def _is_time(self) -> bool:
        if self._seconds is None:
            return False
        pause = max(self._seconds, self._cost / _LARGEST_SHARE)
        return time.monotonic() - self._written >= pause

    def _pause(self) -> int:
        now = time.monotonic()
        seconds, steps = now - self._agreed, self._since_agreed
        self._agreed, self._since_agreed = now, 0
        return min(int(steps * _AGREE_SECONDS / max(seconds, 1e-6)), 2 * steps + 1)
