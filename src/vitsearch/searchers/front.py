"""Pareto fronts: which points no other point betters, how crowded they are, what they enclose.

Points are tuples of numbers that are all to be small; accuracies enter with a minus. The sorting,
the crowding distance and the hyper-volume are pymoo's, an optional dependency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from vitsearch.costs.metrics import TOP1
from vitsearch.errors import MissingExtraError

Points = Sequence[Sequence[float]]


def pymoo(module: str) -> Any:
    """A module of pymoo.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(f"pymoo.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "several objectives need pymoo, which is not installed: pip install 'vitsearch[nsga2]'"
        ) from error


def fronts(points: Points) -> list[list[int]]:
    """Indices by rank: the points that nothing dominates, those that only these dominate, ...

    Source: A fast and elitist multiobjective genetic algorithm: NSGA-II (2002), section III-A.
    """
    if not len(points):
        return []
    sorting = pymoo("util.nds.non_dominated_sorting").NonDominatedSorting()
    return [sorted(int(index) for index in front) for front in sorting.do(_array(points))]


def crowding(points: Points) -> list[float]:
    """How far the neighbours of each point of a front are; infinite at the ends (section III-B)."""
    metrics = pymoo("operators.survival.rank_and_crowding.metrics")
    found = metrics.get_crowding_function("cd").do(_array(points))
    return [float(distance) for distance in found]


def hypervolume(
    points: Points, reference: Sequence[float], *, ideal: Sequence[float] | None = None
) -> float:
    """The volume that points dominate, up to a reference point that is worse than all of interest.

    Args:
        points: What was reached; dominated ones and those beyond the reference do not count.
        reference: The worst value of each objective.
        ideal: The best value of each; the result is then a share of the box between both.
    """
    bounds = np.asarray(reference, dtype=np.float64)
    origin = np.zeros_like(bounds) if ideal is None else np.asarray(ideal, dtype=np.float64)
    scale = np.ones_like(bounds) if ideal is None else bounds - origin
    if not len(points):
        return 0.0
    indicator = pymoo("indicators.hv").HV(ref_point=(bounds - origin) / scale)
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
