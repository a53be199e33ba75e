from __future__ import annotations

import random
import sys
from itertools import product

import numpy as np
import pytest

from vitsearch.errors import MissingExtraError
from vitsearch.searchers import hypervolume, pareto_front
from vitsearch.searchers.front import crowding, fronts

pytest.importorskip("pymoo")


def dominates(first, second):
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


def integer_points(dimensions, seed, n=60):
    rng = random.Random(seed)
    return [tuple(rng.randrange(12) for _ in range(dimensions)) for _ in range(n)]


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_fronts_are_what_nothing_dominates(dimensions, seed):
    points = integer_points(dimensions, seed)
    left = set(range(len(points)))
    for front in fronts(points):
        expected = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        assert front == sorted(expected)
        left -= expected
    assert not left


@pytest.mark.parametrize("dimensions", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_hypervolume_counts_the_cells_that_are_dominated(dimensions, seed):
    points = integer_points(dimensions, seed, n=12)
    reference = (9,) * dimensions  # some points lie beyond it
    cells = sum(
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points)
        for cell in product(range(9), repeat=dimensions)
    )
    assert hypervolume(points, reference) == pytest.approx(cells)
    share = hypervolume(points, reference, ideal=(0,) * dimensions)
    assert share == pytest.approx(cells / 9**dimensions)


def test_hypervolume_of_little():
    assert hypervolume([], (1, 1)) == 0
    assert hypervolume([(2, 0)], (1, 1)) == 0
    assert hypervolume([(0, 0)], (1, 1), ideal=(0, 0)) == pytest.approx(1)
    assert hypervolume([(-0.8, 5e6)], (-0.5, 1e7), ideal=(-1, 0)) == pytest.approx(0.6 * 0.5)


def test_crowding_prefers_the_ends_and_the_lonely():
    distances = crowding([(0, 10), (1, 9), (2, 8), (9, 1), (10, 0)])
    assert distances[0] == distances[-1] == float("inf")
    assert distances[3] == pytest.approx(distances[2])  # each beside the gap
    assert distances[2] > distances[1]


def record(digest, top1, macs, params=1, total=10):
    return {"digest": digest, "top1": top1, "macs": macs, "params": params, "total": total}


def test_front_of_a_history():
    records = [
        record("a", 0.5, 100),
        record("b", 0.6, 90),  # betters a
        record("c", 0.8, 120),
        record("d", 0.8, 120),  # as good as c: another network, so it stays
        record("e", 0.7, 120),
        record("f", 0.9, 50, total=5),  # given up early
    ]
    assert [r["digest"] for r in pareto_front(records)] == ["b", "c", "d"]
    assert [r["digest"] for r in pareto_front(records[:5], ("macs", "params"))] == ["b", "c", "d"]
    assert pareto_front([]) == []


def test_ranks_and_crowding_are_those_of_pymoo():
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    numbers = np.random.RandomState(0)
    for _ in range(200):
        points = numbers.randint(0, 8, (numbers.randint(1, 40), numbers.randint(1, 4))) / 7
        ranked = [sorted(int(i) for i in front) for front in NonDominatedSorting().do(points)]
        assert fronts(points) == ranked
        assert crowding(points) == get_crowding_function("cd").do(points).tolist()


def test_pymoo_that_is_not_installed(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pymoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymoo", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitsearch\[nsga2\]'"):
        hypervolume([(1, 2)], (3, 3))
