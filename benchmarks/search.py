"""What a candidate of a search costs: beside its bare forward pass, and on two processes.

A candidate is scored as in a search: its own BatchNorm statistics (shown apart), its sizes, its
answers counted. Bare is the network taken out, on the same images.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed, multiprocessing

import vitsearch
from benchmarks.tables import Row, Section, rows_of
from benchmarks.timing import Rounds, Settings, side_by_side
from vitsearch import SuperTransformer
from vitsearch.lightning.scoring.distributed import score_together
from vitsearch.lightning.scoring.scorer import Scorer

BARE, CANDIDATE, STATISTICS = "bare forward", "candidate", "its statistics"


def measure(settings: Settings) -> Iterator[Section]:
    """One process beside the bare forward; two beside one."""
    names = settings.spaces or (("glit",) if settings.quick else ("glit", "vit_resnas_tiny"))
    for name in names:
        paper = vitsearch.build_space(name).image_size > 64
        images, batch = (64, 32) if paper else (1000, 250)
        yield measure_candidate(name, settings, images=images, batch=settings.batch or batch)
    if settings.device.type == "cpu":
        yield measure_processes(
            "glit", settings, images=1000, candidates=4 if settings.quick else 8
        )


def make_scorer(name: str, settings: Settings, *, images: int, batch: int) -> Scorer:
    """A scorer of random images, and a quarter as many for statistics."""
    torch.manual_seed(0)
    space = vitsearch.build_space(name)
    if settings.image_size is not None:
        space = space.resized(image_size=settings.image_size)
    net = SuperTransformer(space, num_classes=1000 if space.image_size > 64 else 10)
    x = torch.randn(images, space.in_chans, space.image_size, space.image_size)
    y = torch.randint(net.num_classes, (images,))
    batches = list(zip(x.split(batch), y.split(batch), strict=True))
    statistics = list(x[: max(images // 4, 2)].split(batch))
    return Scorer(net, batches, statistics, device=settings.device, autocast=settings.autocast)


def measure_candidate(name: str, settings: Settings, *, images: int, batch: int) -> Section:
    """A candidate in one process."""
    scorer = make_scorer(name, settings, images=images, batch=batch)
    architecture = scorer.net.space.sample(random.Random(0))
    statistics = scorer.statistics(architecture)
    network = scorer.net.extract(architecture, statistics=statistics)

    def bare() -> None:
        with torch.inference_mode(), settings.autocast():
            for x, _ in scorer.batches:
                network(x)

    candidates: dict[str, Callable[[], object]] = {
        BARE: bare,
        CANDIDATE: lambda: scorer.score(architecture, statistics),
        STATISTICS: lambda: scorer.statistics(architecture),
    }
    rounds = side_by_side(candidates, settings)
    rows = rows_of(rounds, (BARE,))
    rate = 1 / (rounds.median(CANDIDATE) + rounds.median(STATISTICS))
    rows[1].more["candidates a second, statistics included"] = f"{rate:.2f}"
    return Section(f"search: {name}, {images} images in batches of {batch}", rows)


def measure_processes(name: str, settings: Settings, *, images: int, candidates: int) -> Section:
    """The same candidates on one process and on two, a thread each, in turn."""
    with TemporaryDirectory() as folder:
        arguments = (folder, name, settings, images, candidates)
        multiprocessing.start_processes(_work, arguments, nprocs=2, start_method="spawn")
        seconds = torch.load(Path(folder) / "seconds", weights_only=True)
    rounds = Rounds({"1 process": seconds[0], "2 processes": seconds[1]})
    ratio = rounds.ratio("1 process", "2 processes")
    rows = [
        Row(
            label=label,
            milliseconds=1000 * rounds.median(label),
            more={"candidates a second": f"{candidates / rounds.median(label):.2f}"},
        )
        for label in rounds.seconds
    ]
    rows[1].more["times as fast"] = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return Section(f"search: {name}, {candidates} candidates on one and on two processes", rows)


def _work(rank: int, folder: str, name: str, settings: Settings, images: int, count: int) -> None:
    torch.set_num_threads(1)
    scorer = make_scorer(name, settings, images=images, batch=250)
    rng = random.Random(0)
    chosen = [scorer.net.space.sample(rng) for _ in range(count)]
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    seconds: Any = ([], [])
    for number in range(1 + settings.rounds):
        for both in (False, True):
            distributed.barrier()
            start = time.perf_counter()
            if both:
                score_together(scorer, chosen)
            elif rank == 0:
                for architecture in chosen:
                    scorer.score(architecture)
            distributed.barrier()
            if number:
                seconds[both].append(time.perf_counter() - start)
    if rank == 0:
        torch.save(seconds, Path(folder) / "seconds")
    distributed.destroy_process_group()
