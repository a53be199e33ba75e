"""A step with one thread and with all, idle and beside busy processes; candidates side by side.

The busy processes multiply matrices, one for each core, as somebody else's work does on a machine
that people share. `auto` is what the commands choose.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

import vitsearch
from benchmarks.search import make_scorer
from benchmarks.steps import usual_architectures
from benchmarks.tables import Section, rows_of
from benchmarks.timing import Settings, side_by_side
from vitsearch import SuperTransformer
from vitsearch.lightning.threads import AUTO, computing_with, number_of_threads

ONE = "1 thread"
BESIDE = "1 thread each, side by side"
_BUSY = "import numpy as np\nx = np.ones((300, 300))\nwhile True:\n    x @ x"


def measure(settings: Settings) -> Iterator[Section]:
    """Each space idle, then beside busy processes."""
    if settings.device.type != "cpu":
        return
    names = settings.spaces or (("glit",) if settings.quick else ("glit", "vit_resnas_tiny"))
    for name in names:
        yield measure_space(name, settings, busy=0)
        yield measure_space(name, settings, busy=os.cpu_count() or 1)
    for name in settings.spaces or ("glit", "vit_resnas"):
        yield measure_candidates(name, settings)


def measure_candidates(
    name: str, settings: Settings, *, images: int = 1000, count: int = 8
) -> Section:
    """Candidates of a search one after the other, and side by side on spare threads."""
    scorer = make_scorer(name, settings, images=images, batch=200)
    rng = random.Random(0)
    chosen = [scorer.net.space.sample(rng) for _ in range(count)]

    def score(threads: int) -> Callable[[], None]:
        def run() -> None:
            with computing_with(threads):
                scorer.scores(chosen)

        return run

    def in_turn() -> None:
        with computing_with(1):
            for architecture in chosen:
                scorer.score(architecture)

    usual = torch.get_num_threads()
    candidates = {ONE: in_turn, f"{usual} threads": score(usual), BESIDE: score(1)}
    rows = rows_of(side_by_side(candidates, settings), (ONE,))
    return Section(f"threads: {count} candidates of {name}, {images} images each", rows)


def measure_space(name: str, settings: Settings, *, busy: int) -> Section:
    """A step of four architectures with each number of threads, in turn."""
    torch.manual_seed(0)
    space = vitsearch.build_space(name)
    if settings.image_size is not None:
        space = space.resized(image_size=settings.image_size)
    net = SuperTransformer(space, num_classes=10).train()
    batch = settings.batch or (32 if space.image_size < 64 else 8)
    images = torch.randn(batch, space.in_chans, space.image_size, space.image_size)
    chosen = usual_architectures(space, 4)

    def step(threads: int) -> Callable[[], None]:
        def run() -> None:
            with computing_with(threads):
                net.zero_grad(set_to_none=True)
                net(images, chosen).square().mean().backward()

        return run

    usual = torch.get_num_threads()
    auto = number_of_threads(AUTO, space, settings.device)
    candidates = {ONE: step(1), f"{usual} threads": step(usual)}
    with busy_processes(busy):
        rounds = side_by_side(candidates, settings)
    rows = rows_of(rounds, (ONE,))
    rows[[1, usual].index(auto)].more["auto"] = "chosen"
    beside = f"beside {busy} busy processes" if busy else "idle"
    return Section(f"threads: step of {name}, {batch} images, {beside}", rows)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute all the time, with a thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _BUSY]
    processes = [subprocess.Popen(command, env=environment) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
