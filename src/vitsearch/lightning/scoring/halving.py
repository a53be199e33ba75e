"""Successive halving: the worse half of a generation is dropped after a part of the search split.

Source: Non-stochastic Best Arm Identification and Hyperparameter Optimization (AISTATS 2016),
section 3. All candidates of a generation are scored on the first quarter of the images, the better
half also on the second quarter, the better half of these also on the rest: half of the work, and
scores of the quarter that is left are exact, the same integers that scoring everything would give.

Parts follow each other in the split's own order where that mixes the classes evenly (the search
split of a data module does, by its seed), and in a seeded order otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from vitsearch.data.randomness import Purpose
from vitsearch.data.splits import ImageTable, mixed_order
from vitsearch.elastic import NormStatistics
from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning.distributed import gathered, leave_if_wished, rank_and_world
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Batch, Score, Tally, Task
from vitsearch.lightning.threads import spare_threads
from vitsearch.searchers import FrontSearcher, Searcher
from vitsearch.spaces import Architecture

_SHARES = (1 / 4, 1 / 2)  # where a part ends; the last one ends with the split
_LEAST = 4  # images: one for each part
_SNAP = 1 / 20  # of the split: a part ends with a batch that ends so near


class Halving:
    """Scores generations in rungs; the counts do not depend on the number of processes.

    A candidate stays with its process, so that its BatchNorm statistics are estimated once.
    """

    def __init__(self, scorer: Scorer, searcher: Searcher) -> None:
        """Cut the split into parts.

        Args:
            scorer: Scores on the whole split.
            searcher: Whose candidates are scored.

        Raises:
            ConfigError: It does not go with the searcher.
            DataError: There are fewer images than parts.
        """
        self.check(searcher)
        self._scorer = scorer
        parts = cut(scorer.batches, scorer.task, seed=0)
        self._rungs = [scorer.restricted_to(part) for part in parts]

    @staticmethod
    def check(searcher: Searcher) -> None:
        """Refuse a searcher that needs every candidate's whole score.

        Raises:
            ConfigError: It looks for a front: the cheap end of one is the worse half.
        """
        if isinstance(searcher, FrontSearcher):
            raise ConfigError(
                "halving=true keeps the more accurate half of a generation, and a front needs the "
                "cheap half too; use halving=false with this searcher"
            )

    def score(self, architectures: Sequence[Architecture]) -> list[Score]:
        """Scores of a generation, in its order; those dropped early rest on fewer images.

        Raises:
            Interrupted: An end was wished; the generation is lost.
        """
        rank, world = rank_and_world()
        task = self._scorer.task
        statistics: dict[int, NormStatistics] = {}
        counted: dict[int, Tally] = {}
        alive = set(range(len(architectures)))
        for rung, scorer in enumerate(self._rungs):
            own: dict[int, Tally] = {}

            def work(index: int, scorer: Scorer = scorer) -> Tally:
                if index not in statistics:
                    statistics[index] = scorer.statistics(architectures[index])
                return scorer.tally(architectures[index], statistics[index]).cpu()

            length = world * spare_threads()
            for turn in range(0, len(architectures), length):
                leave_if_wished(scorer.device)
                share = range(turn + rank, min(turn + length, len(architectures)), world)
                mine = [index for index in share if index in alive]
                own.update(zip(mine, scorer.side_by_side(work, mine), strict=True))
            for index, tally in (pair for share in gathered(own) for pair in share.items()):
                counted[index] = counted[index] + tally if index in counted else tally
            if rung + 1 < len(self._rungs):
                # Of equals the one proposed first goes on: `sorted` keeps their order.
                values = {index: task.score(counted[index]).value for index in alive}
                ranked = sorted(sorted(alive), key=lambda index: -values[index])
                alive = set(ranked[: (len(alive) + 1) // 2])
        return [task.score(counted[index]) for index in range(len(architectures))]


def cut(batches: Sequence[Batch], task: Task, *, seed: int) -> list[list[Batch]]:
    """The parts of a split as batches, the earlier ones balanced over the groups of the task.

    Args:
        batches: Of the split.
        task: Names the groups.
        seed: Orders the images if their own order does not mix the groups.

    Raises:
        DataError: There are fewer images than parts.
    """
    count = sum(len(images) for images, _ in batches)
    if count < _LEAST:
        raise DataError(
            f"halving=true needs at least {_LEAST} images to score on, there are {count}"
        )
    bounds = [round(share * count) for share in _SHARES]
    groups = _groups(batches, task)
    if groups is None or not all(is_balanced(groups[:bound], groups) for bound in bounds):
        table = ImageTable.of(np.zeros(count, dtype=np.int64) if groups is None else groups)
        order = mixed_order(table, np.arange(count), purpose=Purpose.SEARCH, seed=seed)
        batches = _reordered(batches, torch.from_numpy(order))
    ends = np.cumsum([len(images) for images, _ in batches])
    for index, bound in enumerate(bounds):
        nearest = int(ends[np.abs(ends - bound).argmin()])
        if abs(nearest - bound) <= _SNAP * count:
            bounds[index] = nearest
    return _parts(batches, bounds)


def _groups(batches: Sequence[Batch], task: Task) -> np.ndarray | None:
    found = [task.groups(targets) for _, targets in batches]
    known = [groups for groups in found if groups is not None]
    return torch.cat(known).cpu().numpy() if len(known) == len(found) else None


def is_balanced(part: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a part has as many images of each class, give or take one, as the classes have."""
    sizes, counts = np.bincount(labels), np.bincount(part, minlength=labels.max() + 1)
    return bool((counts >= np.minimum(sizes, counts.max() - 1)).all())


def _reordered(batches: Sequence[Batch], order: torch.Tensor) -> list[Batch]:
    images = torch.cat([images for images, _ in batches])
    targets = torch.cat([targets for _, targets in batches])
    size = max(len(images) for images, _ in batches)
    order = order.to(images.device)
    return [Batch(images[chosen], targets[chosen]) for chosen in torch.split(order, size)]


def _parts(batches: Sequence[Batch], bounds: Sequence[int]) -> list[list[Batch]]:
    """The batches between the bounds, as views; one that reaches over a bound is cut there."""
    parts: list[list[Batch]] = [[] for _ in range(len(bounds) + 1)]
    start = 0
    for images, targets in batches:
        inside = [bound - start for bound in bounds if start < bound < start + len(images)]
        edges = [0, *inside, len(images)]
        for first, last in pairwise(edges):
            part = sum(bound <= start + first for bound in bounds)
            parts[part].append(Batch(images[first:last], targets[first:last]))
        start += len(images)
    return parts
