"""How many threads PyTorch computes with on a CPU, and what the others do.

A second thread gains a small network a fifth where the machine is idle, and costs it a factor of
five and more where it is not: PyTorch's threads wait for each other in every layer. So networks of
little work in a block are computed with one thread, others with as many as PyTorch starts with.
The threads that are left do what is independent: candidates of a search, each on one of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from vitsearch.errors.checks import check_whole
from vitsearch.lightning.distributed import rank_and_world
from vitsearch.spaces import SearchSpace

AUTO = "auto"
MACS_OF_A_BLOCK = 8_000_000
"""Of one image, in a block of the largest network, from which on more threads repay themselves."""
_OF_THE_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MOST_THREADS = 1024  # more than any machine computes with; systems refuse to start many more
_MOST_AT_ONCE = 8  # more wait for Python's lock
_before: list[int] = []
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def number_of_threads(given: object, space: SearchSpace, device: torch.device) -> int:
    """How many threads a command computes with.

    Args:
        given: Its setting `threads`: a number, or `auto`.
        space: Of the networks that are computed.
        device: Where.

    Raises:
        ConfigError: The setting is neither.
    """
    if given != AUTO:
        return check_whole("threads", given, 1, _MOST_THREADS, otherwise=AUTO)
    usual = torch.get_num_threads()
    if device.type != "cpu" or any(os.environ.get(name) for name in _OF_THE_USER):
        return usual
    plan = space.plan(space.largest())
    blocks = max(sum(node.slot is not None for node in plan.nodes), 1)
    return 1 if plan.cost(0).macs / blocks < MACS_OF_A_BLOCK else usual


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Compute with so many threads; afterwards with as many as before."""
    before = torch.get_num_threads()
    _before.append(before)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        _before.pop()
        torch.set_num_threads(before)


def usual_threads() -> int:
    """As many as without a choice of ours: what a network that is measured alone would have."""
    return _before[0] if _before else torch.get_num_threads()


def spare_threads() -> int:
    """How many pieces of independent work can run side by side on what a choice has left idle.

    Processes that train or search together share what is left.
    """
    taken = torch.get_num_threads() * rank_and_world()[1]
    return max(min(usual_threads() // taken, _MOST_AT_ONCE), 1)


def side_by_side(work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """Do independent work on spare threads; results are in the order of the items.

    PyTorch lets go of Python's lock while it computes. Sub-networks keep no state in their layers,
    so several may run at once. Whether gradients are recorded, and in what number format PyTorch
    computes by itself, belongs to a thread, so the others are told.
    """
    count = min(spare_threads(), len(items))
    if count < 2:
        return [work(item) for item in items]
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    casts, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work_as_here(item: ItemT) -> ResultT:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(grad),
            torch.autocast("cpu", dtype=dtype, enabled=casts),
        ):
            return work(item)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work_as_here, items))


def threads_on(device: torch.device) -> int | None:
    """How many threads compute on a device; `None` on other devices than CPUs."""
    return torch.get_num_threads() if device.type == "cpu" else None
