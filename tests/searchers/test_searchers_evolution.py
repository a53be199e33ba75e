from __future__ import annotations

import json
import random
from itertools import product

import pytest

import vitsearch
from vitsearch import Architecture
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.searchers import EvolutionSearcher

TINY = vitsearch.build_space("glit_tiny")
SMALL = vitsearch.build_space("glit", num_blocks=1)
WINDOW = Constraint(macs=("1.2G", "1.3G"))
SETTINGS = {"population": 12, "generations": 4, "parents": 5, "mutations": 6, "crossovers": 5}


def score(architecture):
    """Unrelated to anything, the same everywhere."""
    return int(architecture.digest, 16) / 16**12


def searcher(space=TINY, constraint=WINDOW, **settings):
    return EvolutionSearcher(space, constraint, **{**SETTINGS, **settings})


def run(search, scoring=score):
    """All generations of a search."""
    generations = []
    while candidates := search.ask():
        generations.append(candidates)
        search.tell([scoring(c.architecture) for c in candidates])
    return generations


def brute_force(space):
    genotypes = product(*(choice.options for choice in space.choices))
    names = [choice.name for choice in space.choices]
    return {space.canonical(dict(zip(names, values, strict=True))) for values in genotypes}


@pytest.mark.parametrize("seed", range(3))
def test_everything_that_is_promised_of_a_search(seed):
    search = searcher(seed=seed)
    model = CostModel(TINY)
    seen, digests = set(), set()
    for number, generation in enumerate(run(search)):
        assert len(generation) == (12 if number == 0 else 11)
        for candidate in generation:
            assert candidate.generation == number
            assert candidate.architecture not in seen
            seen.add(candidate.architecture)
            TINY.validate(candidate.architecture)
            assert WINDOW.holds(model.cost(candidate.architecture))
            assert set(candidate.parents) <= digests
            expected = {"random": 0, "mutation": 1, "crossover": 2}[candidate.origin]
            assert len(candidate.parents) == expected
            assert number or candidate.origin == "random"
        digests |= {c.architecture.digest for c in generation}
    assert number == 3
    assert len(seen) == len(digests) == search.num_candidates == 12 + 3 * 11


def test_origins_come_in_the_numbers_asked_for():
    search = searcher(constraint=None)
    for generation in run(search)[1:]:
        origins = [candidate.origin for candidate in generation]
        assert origins == ["mutation"] * 6 + ["crossover"] * 5


@pytest.mark.parametrize(
    ("setting", "origins"),
    [
        ({"mutations": 0}, {"random", "crossover"}),
        ({"crossovers": 0}, {"random", "mutation"}),
        ({"generations": 1}, {"random"}),
    ],
)
def test_parts_can_be_left_out(setting, origins):
    search = searcher(constraint=None, **setting)
    assert {c.origin for generation in run(search) for c in generation} == origins


def test_parents_are_the_best_of_the_whole_history():
    search = searcher(constraint=None, parents=3)
    scores = {}
    while candidates := search.ask():
        if scores:
            best = sorted(scores, key=scores.get, reverse=True)[:3]
            legal = {architecture.digest for architecture in best}
            assert {d for c in candidates for d in c.parents} <= legal
            assert [a.digest for a in search.best(3)] == [a.digest for a in best]
        scores |= {c.architecture: score(c.architecture) for c in candidates}
        search.tell([score(c.architecture) for c in candidates])


def test_best_prefers_the_cheaper_of_equals():
    search = searcher(constraint=None)
    run(search, lambda _: 0.5)
    model = CostModel(TINY)
    macs = [model.cost(a).macs for a in search.best(100)]
    assert macs == sorted(macs)
    assert len(macs) == search.num_candidates
    assert len(search.best(4)) == 4


def test_deterministic_given_the_scores():
    assert run(searcher(seed=7)) == run(searcher(seed=7))
    assert run(searcher(seed=7)) != run(searcher(seed=8))
    assert run(searcher())[:2] != run(searcher(), lambda a: -score(a))[:2]


def test_asking_again_is_the_same_generation():
    search = searcher()
    first = search.ask()
    first.clear()
    again = search.ask()
    assert again == search.ask()
    assert len(again) == 12


def test_global_randomness_is_left_alone():
    random.seed(11)
    state = random.getstate()
    run(searcher())
    assert random.getstate() == state


@pytest.mark.parametrize("stop", range(5))
def test_resumes_where_it_stopped(stop):
    whole = searcher(seed=2)
    expected = run(whole)
    first = searcher(seed=2)
    for _ in range(stop):
        first.tell([score(c.architecture) for c in first.ask()])
    text = json.dumps(first.state_dict())
    second = searcher(seed=2)
    second.ask()  # forgotten when a state is loaded
    second.load_state_dict(json.loads(text))
    assert run(second) == expected[stop:]
    assert second.best(1000) == whole.best(1000)
    assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())


def test_state_does_not_depend_on_whether_one_asked():
    search = searcher()
    before = search.state_dict()
    search.ask()
    assert search.state_dict() == before


def test_state_restores_exact_scores():
    search = searcher(generations=1)
    scores = [1 / 3, 0.1 + 0.2, 1e-300, *([0.5] * 9)]
    search.ask()
    search.tell(scores)
    other = searcher(generations=1)
    other.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert list(other._scores.values()) == scores
    assert all(isinstance(a, Architecture) for a in other._scores)


@pytest.mark.parametrize("population", [10, 36, 50])
def test_spaces_smaller_than_the_search_end_cleanly(population):
    search = searcher(SMALL, None, population=population, generations=20)
    generations = run(search)
    seen = [c.architecture for generation in generations for c in generation]
    assert len(seen) == len(set(seen)) == 36
    assert set(seen) == brute_force(SMALL)
    assert search.ask() == []


def test_space_with_one_architecture():
    fixed = SMALL.restrict(SMALL.largest())
    generations = run(searcher(fixed, None))
    assert [[c.architecture for c in g] for g in generations] == [[SMALL.largest()]]


def test_mutation_that_never_changes_anything_falls_back_to_random_draws():
    search = searcher(constraint=None, mutation_prob=0.0, crossovers=0, generations=2)
    second = run(search)[1]
    assert [candidate.origin for candidate in second] == ["random"] * 6


def test_budget_with_one_architecture():
    low = CostModel(TINY).cost(TINY.smallest()).macs
    search = searcher(
        constraint=Constraint(macs=(None, low)),
        population=2,
        generations=2,
        mutations=1,
        crossovers=1,
    )
    assert [[c.architecture for c in g] for g in run(search)] == [[TINY.smallest()]]


def test_budget_that_nothing_meets():
    low = CostModel(TINY).cost(TINY.smallest()).macs
    with pytest.raises(ConstraintError, match=f"{low} to "):
        searcher(constraint=Constraint(macs=(None, low - 1)))
    search = searcher(constraint=Constraint(macs=(low + 1, low + 2)), population=2)
    with pytest.raises(ConstraintError, match=r"glit_tiny .* widen the window"):
        search.ask()


def test_budget_counts_the_classifier():
    low = CostModel(TINY, 10).cost(TINY.smallest()).macs
    search = searcher(constraint=Constraint(macs=(None, low)), num_classes=10, population=1)
    assert search.ask()[0].architecture == TINY.smallest()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"population": 0}, "searcher.population=0 must be a whole number, 1 or more"),
        ({"generations": 0}, "searcher.generations=0 must be a whole number, 1 or more"),
        ({"parents": 0}, "searcher.parents=0 must be a whole number, 1 or more"),
        ({"mutations": -1}, "searcher.mutations=-1 must be a whole number, 0 or more"),
        ({"crossovers": -2}, "searcher.crossovers=-2 must be a whole number, 0 or more"),
        ({"mutation_prob": 1.5}, "searcher.mutation_prob=1.5 must lie in [0, 1]"),
        ({"mutation_prob": -0.1}, "searcher.mutation_prob=-0.1 must lie in [0, 1]"),
        ({"mutations": 0, "crossovers": 0}, "searcher.mutations and searcher.crossovers"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError) as info:
        searcher(**settings)
    assert words in str(info.value)
    assert "\n" not in str(info.value)


def test_no_children_are_needed_for_random_search():
    search = searcher(generations=1, mutations=0, crossovers=0)
    assert search.num_candidates == 12
    assert len(run(search)) == 1


AUTOFORMER = vitsearch.build_space("autoformer_tiny")


def changed_shares(mutation_prob):
    """How often a mutation changes depth or width, and any other choice."""
    search = EvolutionSearcher(
        AUTOFORMER,
        population=1,
        generations=2,
        mutations=400,
        crossovers=0,
        mutation_prob=mutation_prob,
    )
    first, second = run(search)
    parent = first[0].architecture
    frequent = other = others = 0
    for child in (c.architecture for c in second if c.origin == "mutation"):
        frequent += child["stages.0.depth"] != parent["stages.0.depth"]
        frequent += child["stages.0.embed_dim"] != parent["stages.0.embed_dim"]
        for slot in range(12):  # there whatever the depth
            name = f"stages.0.blocks.{slot}.mlp_ratio"
            other += child[name] != parent[name]
            others += 1
    return frequent / (2 * len(second)), other / others


def test_mutation_by_patterns_of_names():
    patterns = {"*": 0.2, "*.depth": 0.4, "*.embed_dim": 0.4}
    frequent, other = changed_shares(patterns)
    assert frequent == pytest.approx(0.4 * 2 / 3, abs=0.05)  # one draw in three changes nothing
    assert other == pytest.approx(0.2 / 2, abs=0.02)
    frequent, other = changed_shares({"*": 0.0, "*.mlp_ratio": 1.0})
    assert frequent == 0
    assert other == pytest.approx(0.5, abs=0.05)
    assert run(searcher(mutation_prob={"*": 0.1})) == run(searcher(mutation_prob=0.1))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"*": 0.2, "*.depht": 0.4}, "searcher.mutation_prob: space glit_tiny has no choice"),
        ({"*.mlp_ratio": 0.2}, "searcher.mutation_prob has no probability for stem.patch_size"),
        ({}, "searcher.mutation_prob has no probability for"),
        ({"*": 2}, "searcher.mutation_prob.*=2 must lie in [0, 1]"),
        ({"*": "often"}, "searcher.mutation_prob.*=often must lie in [0, 1]"),
        ("often", "searcher.mutation_prob=often must lie in [0, 1]"),
        (True, "searcher.mutation_prob=True must lie in [0, 1]"),
    ],
)
def test_mutation_probabilities_out_of_range(given, words):
    with pytest.raises(ConfigError) as info:
        searcher(mutation_prob=given)
    assert words in str(info.value)
    assert "\n" not in str(info.value)


def test_recipes_of_the_papers_fit_the_numbers():
    # ViT-ResNAS: 500 random, then 19 times 75 mutations and 75 crossovers of the 75 best.
    search = EvolutionSearcher(
        TINY, population=500, generations=20, parents=75, mutations=75, crossovers=75
    )
    assert search.num_candidates == 500 + 19 * 150


def test_candidates_given_up_early_are_remembered_but_no_parents():
    search = searcher(constraint=None, parents=50)
    first = search.ask()
    search.tell([None if index % 2 else 0.5 for index in range(len(first))])
    kept = {c.architecture for c in first[::2]}
    assert set(search.best(100)) == set(search.scored()) == kept
    second = search.ask()
    assert {digest for c in second for digest in c.parents} <= {a.digest for a in kept}
    assert not {c.architecture for c in second} & {c.architecture for c in first}
    other = searcher(constraint=None, parents=50)
    other.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert other.ask() == second


@pytest.mark.parametrize("scores", [[], [0.5] * 11, [0.5] * 13])
def test_scores_of_another_length_are_our_mistake(scores):
    search = searcher()
    search.ask()
    with pytest.raises(AssertionError):
        search.tell(scores)


def test_telling_before_asking_is_our_mistake():
    with pytest.raises(AssertionError, match="ask first"):
        searcher().tell([])
