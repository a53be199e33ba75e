"""The processes of a distributed run, as far as searching needs them: who am I, add up integers."""

from __future__ import annotations

import torch
from torch import distributed


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


def wait_for_processes() -> None:
    """Go on when every process has come here."""
    if rank_and_world()[1] > 1:
        distributed.barrier()
