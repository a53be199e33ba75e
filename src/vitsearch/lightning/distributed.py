"""The processes of a distributed run: who am I, and values that all of them must share."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from vitsearch.errors import VitSearchError
from vitsearch.runs import signals

Value = TypeVar("Value")

_POLL_SECONDS = 1.0


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def largest_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The largest of all processes, element by element; every process gets it."""
    if rank_and_world()[1] > 1:
        distributed.all_reduce(values, op=distributed.ReduceOp.MAX)
    return values


def gathered(value: Value) -> list[Value]:
    """The value of every process, in the order of their ranks; every process gets all."""
    world = rank_and_world()[1]
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    distributed.all_gather_object(values, value)
    return values


def from_first(value: Value) -> Value:
    """The first process's value, on every process."""
    if rank_and_world()[1] == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def made_by_first(make: Callable[[], Value]) -> Value:
    """What the first process makes, on every process; if it fails there, it fails everywhere.

    Raises:
        VitSearchError: On the other processes, if the first one failed.
    """
    made: Value | None = None
    failure: Exception | None = None
    if rank_and_world()[0] == 0:
        try:
            made = make()
        except Exception as error:  # the others wait: tell them before it rises
            failure = error
    problem = None if failure is None else f"{type(failure).__name__}: {failure}"
    made, problem = from_first((made, problem))
    if failure is not None:
        raise failure
    if problem is not None:
        raise VitSearchError(f"the first process failed: {problem}")
    return made  # type: ignore[return-value]


def data_parallel_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with which DDP trains sampled architectures.

    A sub-network uses a part of the parameters: DDP must look which, or it waits for (or silently
    skips) the others. Its running statistics need no broadcast: they are never trusted, see
    `vitsearch.elastic.statistics`.

    Args:
        given: What is set; whether buffers are sent stays as it is.
    """
    names = ("forward_sync_buffers", "broadcast_buffers")  # now, and in older torch
    settings = {**given, "find_unused_parameters": True}
    known = inspect.signature(DistributedDataParallel).parameters
    if not any(name in given for name in names):
        settings[next(name for name in names if name in known)] = False
    return settings


def leave_if_wished(device: torch.device) -> None:
    """End if any process was asked to; all of them come here.

    Raises:
        Interrupted: One was.
    """
    wish = torch.tensor([signals.wished()], dtype=torch.int64, device=device)
    signum = int(largest_over_processes(wish))
    if signum:
        raise signals.Interrupted(signum)


def end_with_parent() -> None:
    """End this process when the one that started it has gone.

    For processes that Lightning started: a killed parent cannot take them along, and they would
    wait for it in a collective until that times out.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        print("vitsearch: the first process of this run is gone; ending", file=sys.stderr)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-observer").start()


def wait_for_processes() -> None:
    """Go on when every process has come here."""
    if rank_and_world()[1] > 1:
        distributed.barrier()
