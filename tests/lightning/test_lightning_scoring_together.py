"""Who scores which candidate, and how many before the processes meet."""

from __future__ import annotations

import random

import pytest

from vitsearch.lightning.scoring import distributed
from vitsearch.lightning.scoring.distributed import TurnLength, even_shares


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [0, 1, 5, 40])
def test_each_candidate_has_one_process_and_work_is_even(count, length):
    rng = random.Random(length)
    costs = [rng.uniform(1, 4) for _ in range(length)]
    shares = even_shares(costs, count)
    assert len(shares) == count
    assert sorted(index for share in shares for index in share) == list(range(length))
    loads = [sum(costs[index] for index in share) for share in shares]
    best = max([sum(costs) / count, *costs], default=0)
    assert max(loads) <= 4 / 3 * best + 1e-9


def test_equal_work_is_dealt_evenly():
    assert [len(share) for share in even_shares([0] * 6, 3)] == [2, 2, 2]


def test_small_networks_meet_seldom_and_large_ones_after_each(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(distributed.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(distributed, "rank_and_world", lambda: (0, 2))
    monkeypatch.setattr(distributed, "from_first", lambda value: value)

    def lengths(seconds: float) -> list[int]:
        turns, found = TurnLength(), []
        for _ in range(6):
            found.append(turns.next())
            now[0] += seconds * found[-1] / 2
        return found

    assert lengths(0.5) == [2, 4, 8, 16, 20, 20]
    assert lengths(60.0) == [2] * 6
    assert max(lengths(0.001)) == 32


def test_one_process_has_a_candidate_a_turn():
    turns = TurnLength()
    assert [turns.next() for _ in range(3)] == [1, 1, 1]
