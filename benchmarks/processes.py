"""A training step on two processes beside one, and beside what `docs/scaling.md` foretells.

Each process has one thread. Gradients are exchanged as in training: DDP over gloo, which looks for
weights that rested. A model of the step needs two numbers, measured here by themselves: the step
without an exchange, and the exchange of all gradients without a step.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import vitsearch
from benchmarks.steps import usual_architectures
from benchmarks.tables import Row, Section
from benchmarks.timing import Rounds, Settings
from vitsearch import Architecture, SuperTransformer
from vitsearch.lightning.distributed import data_parallel_settings

WORLD, SHARES = 2, 4
ALONE = "1 process"
APART = "2 processes, nothing exchanged"
EXCHANGE = "2 processes, gradients exchanged, no step"
SAME = "2 processes, the same architectures"
OWN = "2 processes, architectures of their own"


def measure(settings: Settings) -> Iterator[Section]:
    """A demo, whose step is short for its weights, and a paper's space, where it is long."""
    if settings.device.type != "cpu":
        return  # this compares cores
    names = settings.spaces or (("vit_resnas",) if settings.quick else ("vit_resnas", "glit_tiny"))
    for name in names:
        yield measure_space(name, settings)


def measure_space(name: str, settings: Settings) -> Section:
    """Everything in turn, round by round, in the same two processes."""
    with TemporaryDirectory() as folder:
        multiprocessing.start_processes(
            _work, (folder, name, settings), nprocs=WORLD, start_method="spawn"
        )
        found = torch.load(Path(folder) / "found", weights_only=True)
    rounds, uneven = Rounds(found["seconds"]), found["uneven"]
    step, exchange = rounds.median(APART), rounds.median(EXCHANGE)
    foretold = {SAME: (step, exchange), OWN: (uneven * step, exchange)}
    rows = []
    for label in rounds.seconds:
        row = Row(label=label, milliseconds=1000 * rounds.median(label))
        if label != ALONE and label != EXCHANGE:
            row.ratios[ALONE] = rounds.ratio(label, ALONE)
        if label in foretold:
            row.more["model, ms"] = _between(*foretold[label])
        rows.append(row)
    title = (
        f"training step on two processes: {name}, {_batch(name, settings)} images and {SHARES} "
        f"architectures each; slowest beside mean by MACs {uneven:.3f}"
    )
    return Section(title, rows)


def _between(step: float, exchange: float) -> str:
    """All that the backward pass can hide is hidden, or nothing is."""
    hidden = step + max(0.0, exchange - 2 / 3 * step)
    return f"{1000 * hidden:.0f} to {1000 * (step + exchange):.0f}"


def _batch(name: str, settings: Settings) -> int:
    return settings.batch or (8 if vitsearch.build_space(name).image_size > 64 else 32)


def _work(rank: int, folder: str, name: str, settings: Settings) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space = vitsearch.build_space(name)
    if settings.image_size is not None:
        space = space.resized(image_size=settings.image_size)
    batch = _batch(name, settings)
    images = torch.randn(batch, space.in_chans, space.image_size, space.image_size)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=WORLD)
    net = SuperTransformer(space, num_classes=10).train()
    together = DistributedDataParallel(net, **data_parallel_settings({}))
    gradients = torch.zeros(sum(weight.numel() for weight in net.parameters()))
    usual = usual_architectures(space, SHARES)
    draws = [
        [random.Random(f"{number}/{r}") for r in range(WORLD)] for number in range(settings.rounds)
    ]
    own = [[[space.sample(rng) for _ in range(SHARES)] for rng in each] for each in draws]

    def step(run: nn.Module, architectures: Sequence[Architecture]) -> None:
        run.zero_grad(set_to_none=True)
        loss: Tensor = run(images, architectures).square().mean()
        loss.backward()

    def exchange() -> None:
        distributed.all_reduce(gradients)

    def alone() -> None:
        if rank == 0:
            step(net, usual)

    seconds: dict[str, list[float]] = {}
    for number in range(-1, settings.rounds):
        drawn = own[max(number, 0)][rank]
        candidates: dict[str, Callable[[], None]] = {
            ALONE: alone,
            APART: lambda: step(net, usual),
            EXCHANGE: exchange,
            SAME: lambda: step(together, usual),
            OWN: lambda drawn=drawn: step(together, drawn),
        }
        for label, run in candidates.items():
            distributed.barrier()
            start = time.perf_counter()
            run()
            distributed.barrier()
            if number >= 0:
                seconds.setdefault(label, []).append(time.perf_counter() - start)
    if rank == 0:
        mean = sum(net.cost(one).macs for one in usual)
        costs = [[sum(net.cost(one).macs for one in of) for of in each] for each in own]
        uneven = statistics.mean(max(each) / mean for each in costs)
        torch.save({"seconds": seconds, "uneven": uneven}, Path(folder) / "found")
    distributed.destroy_process_group()
