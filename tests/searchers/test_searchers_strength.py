"""On a made-up accuracy, evolution finds better architectures than random search, as cheaply."""

from __future__ import annotations

import random
from itertools import product

import pytest

import vitsearch
from vitsearch.costs import Constraint
from vitsearch.searchers import EvolutionSearcher

SPACE = vitsearch.build_space("glit_tiny")
WINDOW = Constraint(macs=("1.2G", "1.3G"))


def made_up_accuracy(seed):
    """Every option is worth something, and so is every pair of neighbouring blocks."""
    rng = random.Random(seed)
    worth = {(c.name, option): rng.gauss(0, 1) for c in SPACE.choices for option in c.options}
    heads = [f"stages.0.blocks.{slot}.global_heads" for slot in range(12)]
    pairs = {key: rng.gauss(0, 1) for key in product(range(11), range(4), range(4))}

    def accuracy(architecture):
        own = sum(worth[name, value] for name, value in architecture.items())
        thirds = [architecture[name] for name in heads]
        return own + sum(pairs[slot, thirds[slot], thirds[slot + 1]] for slot in range(11))

    return accuracy


def best_of(accuracy, **settings):
    search = EvolutionSearcher(SPACE, WINDOW, **settings)
    best, evaluations = -float("inf"), 0
    while candidates := search.ask():
        scores = [accuracy(c.architecture) for c in candidates]
        search.tell(scores)
        best, evaluations = max(best, *scores), evaluations + len(scores)
    return best, evaluations


@pytest.mark.slow
def test_evolution_beats_random_search_at_equal_evaluations():
    wins = []
    for seed in range(6):
        accuracy = made_up_accuracy(seed)
        evolved, evaluations = best_of(
            accuracy, population=50, generations=8, mutations=25, crossovers=25, seed=seed
        )
        drawn, same = best_of(accuracy, population=400, generations=1, seed=seed)
        assert evaluations == same == 400
        wins.append(evolved - drawn)
    assert min(wins) > 0, wins


@pytest.mark.parametrize("seed", range(3))
def test_the_best_never_gets_worse(seed):
    accuracy = made_up_accuracy(seed)
    search = EvolutionSearcher(SPACE, WINDOW, population=20, generations=6, seed=seed)
    bests = []
    while candidates := search.ask():
        search.tell([accuracy(c.architecture) for c in candidates])
        bests.append(accuracy(search.best(1)[0]))
    assert bests == sorted(bests)
    assert bests[-1] > bests[0]
