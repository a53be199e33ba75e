"""How uneven steps are when processes train different architectures: by MACs, and measured.

A step ends when its slowest process is done. What it waits for follows from how much the costs of
architectures differ (`docs/scaling.md`); here single steps are timed, to see how far that holds.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

import vitsearch
from benchmarks.tables import Row, Section
from benchmarks.timing import Settings, side_by_side
from vitsearch import SuperTransformer
from vitsearch.costs import cost_table

PROCESSES, SHARES = (2, 8, 64, 512), 4


def measure(settings: Settings) -> Iterator[Section]:
    """The paper's spaces by MACs alone, and a demo with measured steps."""
    for name in settings.spaces or (
        "glit_tiny",
        "vit_resnas_tiny",
        "vitas_small",
        "autoformer_tiny",
    ):
        yield Section(f"uneven steps, {SHARES} architectures a process: {name}", [foretold(name)])
    yield measured("vit_resnas", settings, count=8 if settings.quick else 24)


def foretold(name: str) -> Row:
    """From the MACs of random architectures."""
    space = vitsearch.build_space(name)
    rng = random.Random(0)
    macs = cost_table(space, [space.sample(rng) for _ in range(4000)])["macs"]
    return Row(label="by MACs", more=waits(macs.astype(np.float64)))


def measured(name: str, settings: Settings, *, count: int) -> Section:
    """From the times of single steps of a demo space, each on its share of a batch."""
    torch.manual_seed(0)
    space = vitsearch.build_space(name)
    net = SuperTransformer(space, num_classes=10).to(settings.device).train()
    shape = (settings.batch or 8, space.in_chans, space.image_size, space.image_size)
    images = torch.randn(shape, device=settings.device)
    rng = random.Random(0)
    chosen = [space.sample(rng) for _ in range(count)]

    def step(architecture: vitsearch.Architecture) -> Callable[[], None]:
        def run() -> None:
            net.zero_grad(set_to_none=True)
            loss: Tensor = net(images, architecture).square().mean()
            loss.backward()

        return run

    rounds = side_by_side({str(i): step(one) for i, one in enumerate(chosen)}, settings)
    seconds = np.array([rounds.median(str(i)) for i in range(count)])
    macs = np.array([net.cost(one).macs for one in chosen], dtype=np.float64)
    alike = np.corrcoef(macs, seconds)[0, 1]
    rows = [
        Row(label="by MACs", more=waits(macs)),
        Row(
            label="by time",
            milliseconds=1000 * statistics.median(seconds),
            more={**waits(seconds), "correlation with MACs": f"{alike:.2f}"},
        ),
    ]
    return Section(f"uneven steps, {SHARES} architectures a process: {name}, measured", rows)


def waits(costs: np.ndarray) -> dict[str, str]:
    """The slowest of some processes beside the mean, for costs drawn at random."""
    generator = np.random.default_rng(0)
    found = {"deviation / mean": f"{costs.std() / costs.mean():.3f}"}
    for processes in PROCESSES:
        drawn = generator.choice(costs, (500, processes, SHARES)).sum(axis=2)
        found[f"{processes} processes"] = (
            f"{(drawn.max(axis=1) / costs.mean() / SHARES).mean():.3f}"
        )
    return found
