"""Successive halving: the worse half of a generation is given up on a part of the search split.

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
from vitsearch.lightning.distributed import leave_if_wished, rank_and_world, sum_over_processes
from vitsearch.lightning.scoring.scorer import Batch, Score, Scorer
from vitsearch.searchers import FrontSearcher, Searcher
from vitsearch.spaces import Architecture

_SHARES = (1 / 4, 1 / 2)  # where a part ends; the last one ends with the split
_LEAST = 4  # images: one for each part
_SNAP = 1 / 20  # of the split: a part ends with a batch that ends so near


class Halving:
    """Scores generations in rungs; the counts do not depend on the number of processes.

    A candidate stays with its process, so that its BatchNorm statistics are estimated once.
    """

    def __init__(self, scorer: Scorer, searcher: Searcher, *, seed: int = 0) -> None:
        """Cut the split into parts.

        Args:
            scorer: Scores on the whole split.
            searcher: Whose candidates are scored.
            seed: Orders the images if their own order does not mix the classes.

        Raises:
            ConfigError: It does not go with the searcher.
            DataError: There are fewer images than parts.
        """
        self.check(searcher)
        self._scorer = scorer
        self._rungs = [scorer.restricted_to(part) for part in cut(scorer.batches, seed=seed)]

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
        """Scores of a generation, in its order; those given up early rest on fewer images.

        Raises:
            Interrupted: An end was wished; the generation is lost.
        """
        rank, world = rank_and_world()
        statistics: dict[int, NormStatistics] = {}
        correct = torch.zeros(len(architectures), dtype=torch.int64)
        total = [0] * len(architectures)
        alive = set(range(len(architectures)))
        for rung, scorer in enumerate(self._rungs):
            counts = torch.zeros(len(architectures), dtype=torch.int64, device=scorer.device)
            for turn in range(0, len(architectures), world):
                leave_if_wished(scorer.device)
                index = turn + rank
                if index in alive:
                    if index not in statistics:
                        statistics[index] = scorer.statistics(architectures[index])
                    found = scorer.score(architectures[index], statistics[index])
                    counts[index] = found.correct
            for index in alive:
                total[index] += scorer.num_images
            correct += sum_over_processes(counts).cpu()
            if rung + 1 < len(self._rungs):
                # Of equals the one proposed first goes on: `sorted` keeps their order.
                ranked = sorted(sorted(alive), key=lambda index: -int(correct[index]))
                alive = set(ranked[: (len(alive) + 1) // 2])
        return [
            Score(correct=count, total=seen)
            for count, seen in zip(correct.tolist(), total, strict=True)
        ]

    def is_whole(self, score: Score) -> bool:
        """Whether a score rests on all images."""
        return score.total == self._scorer.num_images

    def told(self, scores: Sequence[Score]) -> list[float | None]:
        """What a searcher is told: `None` of a candidate that was given up early."""
        return [score.top1 if self.is_whole(score) else None for score in scores]


def cut(batches: Sequence[Batch], *, seed: int) -> list[list[Batch]]:
    """The parts of a split as batches, the earlier ones balanced over the classes.

    Raises:
        DataError: There are fewer images than parts.
    """
    labels = torch.cat([labels for _, labels in batches]).cpu().numpy()
    if len(labels) < _LEAST:
        raise DataError(
            f"halving=true needs at least {_LEAST} images to score on, there are {len(labels)}"
        )
    bounds = [round(share * len(labels)) for share in _SHARES]
    if not all(is_balanced(labels[:bound], labels) for bound in bounds):
        order = mixed_order(
            ImageTable.of(labels), np.arange(len(labels)), purpose=Purpose.SEARCH, seed=seed
        )
        batches = _reordered(batches, torch.from_numpy(order))
    ends = np.cumsum([len(labels) for _, labels in batches])
    for index, bound in enumerate(bounds):
        nearest = int(ends[np.abs(ends - bound).argmin()])
        if abs(nearest - bound) <= _SNAP * len(labels):
            bounds[index] = nearest
    return _parts(batches, bounds)


def is_balanced(part: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a part has as many images of each class, give or take one, as the classes have."""
    sizes, counts = np.bincount(labels), np.bincount(part, minlength=labels.max() + 1)
    return bool((counts >= np.minimum(sizes, counts.max() - 1)).all())


def _reordered(batches: Sequence[Batch], order: torch.Tensor) -> list[Batch]:
    images = torch.cat([images for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    size = max(len(labels) for _, labels in batches)
    order = order.to(labels.device)
    return [(images[chosen], labels[chosen]) for chosen in torch.split(order, size)]


def _parts(batches: Sequence[Batch], bounds: Sequence[int]) -> list[list[Batch]]:
    """The batches between the bounds, as views; one that reaches over a bound is cut there."""
    parts: list[list[Batch]] = [[] for _ in range(len(bounds) + 1)]
    start = 0
    for images, labels in batches:
        inside = [bound - start for bound in bounds if start < bound < start + len(labels)]
        edges = [0, *inside, len(labels)]
        for first, last in pairwise(edges):
            part = sum(bound <= start + first for bound in bounds)
            parts[part].append((images[first:last], labels[first:last]))
        start += len(labels)
    return parts
