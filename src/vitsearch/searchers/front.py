"""Pareto fronts: which points no other point betters, how crowded they are, what they enclose.

Points are tuples of numbers that are all to be small; accuracies enter with a minus. The
hyper-volume is pymoo's, an optional dependency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from vitsearch.costs.metrics import TOP1
from vitsearch.errors import MissingExtraError

Points = Sequence[Sequence[float]]


def fronts(points: Points) -> list[list[int]]:
    """Indices by rank: the points that nothing dominates, those that only these dominate, ...

    Source: A fast and elitist multiobjective genetic algorithm: NSGA-II (2002), section III-A.
    """
    if not len(points):
        return []
    rows = _array(points)
    no_worse: npt.NDArray[np.bool_] = np.all(rows[:, None] <= rows[None], axis=2)
    dominates: npt.NDArray[np.bool_] = np.logical_and(no_worse, ~no_worse.T)
    left = np.arange(len(rows))
    found = []
    while len(left):
        beaten = dominates[np.ix_(left, left)].any(axis=0)
        found.append(left[~beaten].tolist())
        left = left[beaten]
    return found


def crowding(points: Points) -> list[float]:
    """How far the neighbours of each point of a front are; infinite at the ends (section III-B)."""
    rows = _array(points)
    count, objectives = rows.shape if len(points) else (0, 1)
    if count <= 2:
        return [math.inf] * count
    order = np.argsort(rows, axis=0, kind="stable")
    sorted_rows = np.take_along_axis(rows, order, axis=0)
    spread = sorted_rows[-1] - sorted_rows[0]
    ends = np.full((1, objectives), np.inf)
    steps = np.concatenate([ends, np.diff(sorted_rows, axis=0), ends])
    scaled = np.divide(steps, spread, out=np.zeros_like(steps), where=spread > 0)
    places = np.argsort(order, axis=0)
    sides = np.take_along_axis(scaled[:-1], places, 0) + np.take_along_axis(scaled[1:], places, 0)
    return [float(total) for total in sides.sum(axis=1) / objectives]


def hypervolume(
    points: Points, reference: Sequence[float], *, ideal: Sequence[float] | None = None
) -> float:
    """The volume that points dominate, up to a reference point that is worse than all of interest.

    Args:
        points: What was reached; dominated ones and those beyond the reference do not count.
        reference: The worst value of each objective.
        ideal: The best value of each; the result is then a share of the box between both.

    Raises:
        MissingExtraError: pymoo is not installed.
    """
    bounds = np.asarray(reference, dtype=np.float64)
    origin = np.zeros_like(bounds) if ideal is None else np.asarray(ideal, dtype=np.float64)
    scale = np.ones_like(bounds) if ideal is None else bounds - origin
    if not len(points):
        return 0.0
    try:
        indicators = import_module("pymoo.indicators.hv")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the hyper-volume needs pymoo, which is not installed: pip install 'vitsearch[nsga2]'"
        ) from error
    indicator = indicators.HV(ref_point=(bounds - origin) / scale)
    return float(indicator.do((_array(points) - origin) / scale))


def objectives(
    record: Mapping[str, Any], minimise: Sequence[str], score: str = TOP1.name
) -> tuple[float, ...]:
    """A line of `search/history.jsonl` as a point: minus its score, then its costs."""
    return (-float(record[score]), *(float(record[cost]) for cost in minimise))


def pareto_front(
    records: Iterable[Mapping[str, Any]],
    minimise: Sequence[str] = ("macs",),
    score: str = TOP1.name,
) -> list[Mapping[str, Any]]:
    """The records of a history that no other one betters, by the first of the costs.

    Candidates that were dropped early (scored on fewer images than others) do not count. `score`
    is what the task calls its figure.
    """
    listed = list(records)
    total = max((record["total"] for record in listed), default=0)
    whole = [record for record in listed if record["total"] == total]
    ranked = fronts([objectives(record, minimise, score) for record in whole])
    best = [whole[index] for index in ranked[0]] if ranked else []
    return sorted(best, key=lambda record: (record[minimise[0]], record["digest"]))


def _array(points: Points) -> npt.NDArray[np.float64]:
    return np.asarray(points, dtype=np.float64).reshape(len(points), -1)
