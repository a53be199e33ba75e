"""Several processes of a distributed run, played by threads of this one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from vitsearch.lightning import distributed as processes


class Shards:
    """Threads that meet where processes would: to add up, and to hear from the first one."""

    def __init__(self, world: int) -> None:
        self.world = world
        self._barrier = threading.Barrier(world)
        self._own = threading.local()
        self._posted: list[Any] = [None] * world

    def rank_and_world(self) -> tuple[int, int]:
        return self._own.rank, self.world

    def gathered(self, value: Any) -> list[Any]:
        return self._gather(value)

    def largest_over_processes(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._gather(values.clone())).amax(0)

    def broadcast_object_list(self, box: list[Any], src: int) -> None:
        box[:] = self._gather(list(box))[src]

    def _gather(self, value: Any) -> list[Any]:
        self._posted[self._own.rank] = value
        self._barrier.wait(60)
        posted = list(self._posted)
        self._barrier.wait(60)
        return posted

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """The results of `work(rank)`, or the exception that ended it, by rank."""
        results: list[Any] = [None] * self.world

        def enter(rank: int) -> None:
            self._own.rank = rank
            try:
                results[rank] = work(rank)
            except Exception as error:
                results[rank] = error

        threads = [threading.Thread(target=enter, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def run_shards(
    monkeypatch: pytest.MonkeyPatch,
    modules: Sequence[Any],
    world: int,
    work: Callable[[int], Any],
) -> list[Any]:
    """`work(rank)` on each of `world` pretended processes, in code of these modules."""
    shards = Shards(world)
    with monkeypatch.context() as patch:
        for module in (processes, *modules):
            for name in ("rank_and_world", "gathered", "largest_over_processes"):
                if hasattr(module, name):
                    patch.setattr(module, name, getattr(shards, name))
        patch.setattr(processes.distributed, "broadcast_object_list", shards.broadcast_object_list)
        return shards.run(work)
