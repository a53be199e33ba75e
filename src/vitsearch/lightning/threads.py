"""How many threads PyTorch computes with on a CPU.

A second thread gains a small network a seventh where the machine is idle, and costs it a factor of
ten and more where it is not: PyTorch's threads wait for each other in every layer. So networks of
little work in a block are computed with one thread, others with as many as PyTorch starts with.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vitsearch.errors.checks import check_whole
from vitsearch.spaces import SearchSpace

AUTO = "auto"
MACS_OF_A_BLOCK = 8_000_000
"""Of one image, in a block of the largest network, from which on more threads repay themselves."""
_OF_THE_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_before: list[int] = []


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
        return check_whole("threads", given, 1, otherwise=AUTO)
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


def threads_on(device: torch.device) -> int | None:
    """How many threads compute on a device; `None` on other devices than CPUs."""
    return torch.get_num_threads() if device.type == "cpu" else None
