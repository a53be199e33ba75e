"""Candidates scored by several processes: who scores which, and how many before they meet.

Each candidate is scored whole by one process, which tells the others, so that a score does not
depend on how many processes there are. Processes wait for each other where they meet, so each gets
about the same work, and on small networks they meet after several candidates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from vitsearch.lightning.distributed import from_first, gathered, rank_and_world
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Score
from vitsearch.lightning.threads import spare_threads
from vitsearch.spaces import Architecture

_SECONDS = 5.0  # of work that a killed search may lose
_LARGEST_SHARE = 16


def score_together(scorer: Scorer, architectures: Sequence[Architecture]) -> list[Score]:
    """The scores of architectures, each computed by one process, known to all."""
    rank, world = rank_and_world()
    macs = [scorer.net.cost(architecture).macs for architecture in architectures]
    own = even_shares(macs, world)[rank]
    found = scorer.scores([architectures[index] for index in own])
    shares = gathered(dict(zip(own, found, strict=True)))
    scores = {index: score for share in shares for index, score in share.items()}
    return [scores[index] for index in range(len(architectures))]


def even_shares(costs: Sequence[float], count: int) -> list[list[int]]:
    """Positions for each of some processes, so that their costs add up to about the same.

    The dearest first, each to whoever has least so far (Graham, 1969: at most 4/3 of the best).
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        least = min(range(count), key=lambda process: (loads[process], len(shares[process])))
        shares[least].append(index)
        loads[least] += costs[index]
    return shares


class TurnLength:
    """How many candidates are scored before whoever scores them meets: some seconds of work.

    One process without spare threads meets nobody, and has a candidate a turn. The first process
    decides for all.
    """

    def __init__(self) -> None:
        self._each = 1
        self._started: float | None = None

    def next(self) -> int:
        """Of the turn that begins now, after the one before it."""
        at_once = rank_and_world()[1] * spare_threads()
        if at_once == 1:
            return 1
        now = time.monotonic()
        if self._started is not None:
            seconds = max((now - self._started) / self._each, 1e-6)
            wanted = min(int(_SECONDS / seconds), 2 * self._each, _LARGEST_SHARE)
            self._each = max(from_first(wanted), 1)
        self._started = time.monotonic()
        return at_once * self._each
