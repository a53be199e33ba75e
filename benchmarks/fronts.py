"""`python -m benchmarks.fronts <run folder>`: a front in one search, against random search.

NSGA-II and random search look for the front of accuracy, MACs and latency in the same supernet,
with the same number of evaluations, from the same first architectures. What is compared is how much
of the box between the best and the worst that any search has seen their fronts dominate. Every
architecture is scored once and measured once: all searches and seeds see the same numbers, and a
benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads wait for each other on small layers

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.kept_scores import KeptScores, open_run
from vitsearch.costs import Constraint
from vitsearch.costs.measure import MeasureSettings
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.runs.files import write_json
from vitsearch.searchers import Nsga2Searcher, RandomSearcher, Searcher, hypervolume
from vitsearch.searchers.front import fronts
from vitsearch.spaces import SearchSpace

COSTS = ("macs", "latency_ms")
Point = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One search: minus top-1, MACs and latency of its candidates, in order."""

    seed: int
    searcher: str
    points: list[Point]


def undisturbed(measure: Callable[[Any], float], nice: int | None) -> Callable[[Any], float]:
    """The same under another priority: on a busy machine, others' turns would be measured too."""

    def measured(architecture: Any) -> float:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, before if nice is None else nice)
        try:
            return measure(architecture)
        finally:
            os.setpriority(os.PRIO_PROCESS, 0, before)

    return measured


def compare(
    space: SearchSpace,
    score: Callable[[Sequence[Any]], list[float]],
    latency: Callable[[Any], float],
    *,
    seeds: Sequence[int],
    population: int,
    generations: int,
    num_classes: int,
) -> list[Searched]:
    """Both searchers for every seed, with equal evaluations."""
    found = []
    for seed in seeds:
        common: dict[str, Any] = {"seed": seed, "num_classes": num_classes}
        nsga2 = Nsga2Searcher(
            space,
            Constraint(),
            minimise=COSTS,
            population=population,
            generations=generations,
            mutations=population // 4,
            crossovers=population // 4,
            measure={"latency_ms": latency},
            **common,
        )
        at_random = RandomSearcher(space, population=nsga2.num_candidates, **common)
        for name, searcher in (("NSGA-II", nsga2), ("random", at_random)):
            points = run(searcher, score, nsga2, latency)
            found.append(Searched(seed=seed, searcher=name, points=points))
    shortest = min(len(one.points) for one in found)  # NSGA-II may run out of new children
    return [
        Searched(seed=one.seed, searcher=one.searcher, points=one.points[:shortest])
        for one in found
    ]


def run(
    searcher: Searcher,
    score: Callable[[Sequence[Any]], list[float]],
    costs: Nsga2Searcher,
    latency: Callable[[Any], float],
) -> list[Point]:
    """A whole search; its candidates as points."""
    points = []
    while candidates := searcher.ask():
        architectures = [candidate.architecture for candidate in candidates]
        scores = score(architectures)
        searcher.tell(scores)
        for architecture, top1 in zip(architectures, scores, strict=True):
            macs = costs.budget.value("macs", architecture)
            points.append((-top1, macs, latency(architecture)))
    return points


def facts(searched: Sequence[Searched]) -> list[dict[str, Any]]:
    """Hyper-volumes after a quarter, half and all of the evaluations, for each search."""
    every = [point for one in searched for point in one.points]
    worst, best = ([f(axis) for axis in zip(*every, strict=True)] for f in (max, min))
    found = []
    for one in searched:
        length = len(one.points)
        volumes = {
            str(n): hypervolume(one.points[:n], worst, ideal=best)
            for n in (length // 4, length // 2, length)
        }
        front = [one.points[index] for index in fronts(one.points)[0]]
        found.append(
            {
                "seed": one.seed,
                "searcher": one.searcher,
                "evaluations": length,
                "hypervolume": volumes,
                "front": sorted(front, key=lambda point: point[1:]),
                "best_top1": -min(point[0] for point in one.points),
            }
        )
    return found


def table_of(found: Sequence[dict[str, Any]]) -> Table:
    """For people: a row a search, and what NSGA-II gains in the mean of the seeds."""
    table = Table(title="share of the box that the front dominates")
    after = list(found[0]["hypervolume"])
    for heading in ("seed", "searcher", *(f"after {n}" for n in after), "front", "best top-1"):
        table.add_column(heading, justify="left" if heading == "searcher" else "right")
    for one in found:
        volumes = [f"{100 * volume:.1f} %" for volume in one["hypervolume"].values()]
        size, top1 = str(len(one["front"])), f"{100 * one['best_top1']:.1f} %"
        table.add_row(str(one["seed"]), one["searcher"], *volumes, size, top1)
    gains = [
        [a - b for a, b in zip(*(one["hypervolume"].values() for one in pair), strict=True)]
        for pair in zip(found[::2], found[1::2], strict=True)
    ]
    means = [f"{100 * statistics.mean(column):+.1f} %" for column in zip(*gains, strict=True)]
    table.add_section()
    table.add_row("mean", "NSGA-II - random", *means, "", "")
    return table


def main(given: Sequence[str] | None = None) -> None:
    """Search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a folder that vitsearch.train wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=16, help="of the latency")
    parser.add_argument("--repeats", type=int, default=20, help="runs whose median is the latency")
    parser.add_argument("--nice", type=int, help="priority while latency is measured; root: -20")
    parser.add_argument("--folder", type=Path, help="for scores and fronts; <run>/fronts if not")
    arguments = parser.parse_args(given)
    folder = arguments.folder or Path(arguments.run) / "fronts"
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=110)
    net, scorer = open_run(arguments.run)
    how = MeasureSettings(
        device="cpu", batch_size=arguments.batch_size, repeats=arguments.repeats, warmup=3
    )
    measured = folder / "measured.json"
    measurements = Measurements(
        net.space, net.num_classes, how, search_device=torch.device("cpu"), file=measured
    )
    searched = compare(
        net.space,
        KeptScores(scorer, folder / "scores.json"),
        undisturbed(measurements.measures()["latency_ms"], arguments.nice),
        seeds=arguments.seeds,
        population=arguments.population,
        generations=arguments.generations,
        num_classes=net.num_classes,
    )
    circumstances = measurements.circumstances()
    found = facts(searched)
    console.print(f"{platform.machine()}, {circumstances}", highlight=False)
    console.print(table_of(found))
    write_json(folder / "fronts.json", {"circumstances": circumstances, "searches": found})


if __name__ == "__main__":
    main()
