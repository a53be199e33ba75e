"""The processes of a distributed run, as far as searching needs them: who, add up, agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed

from vitsearch.errors import VitSearchError

Value = TypeVar("Value")


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Integers added up over all processes; every process gets the sum."""
    if rank_and_world()[1] > 1:
        distributed.all_reduce(values)
    return values


def from_first_process(make: Callable[[], Value]) -> Value:
    """What the first process makes, on every process; if it fails there, it fails everywhere.

    Raises:
        VitSearchError: On the other processes, if the first one failed.
    """
    rank, world = rank_and_world()
    if world == 1:
        return make()
    box: list[object] = [None, None]
    failure: Exception | None = None
    if rank == 0:
        try:
            box[0] = make()
        except Exception as error:  # the others wait: tell them before it rises
            box[1], failure = f"{type(error).__name__}: {error}", error
    distributed.broadcast_object_list(box, src=0)
    if failure is not None:
        raise failure
    if box[1] is not None:
        raise VitSearchError(f"the first process failed: {box[1]}")
    return box[0]  # type: ignore[return-value]
