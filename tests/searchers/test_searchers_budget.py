"""Searches inside windows on measured costs, with a made-up machine."""

from __future__ import annotations

import json
import random

import pytest

import vitsearch
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.searchers import Budget, EvolutionSearcher, RandomSearcher

SPACE = vitsearch.build_space("glit")
MODEL = CostModel(SPACE)
WINDOW = Constraint(macs=("6M", "12M"), latency_ms=(8, 9), memory_mb=(None, 5))
SETTINGS = {"population": 10, "generations": 3, "parents": 4, "mutations": 5, "crossovers": 4}


def score(architecture):
    return int(architecture.digest, 16) / 16**12


class Machine:
    """Costs that follow from the architecture; counts what it is asked."""

    def __init__(self):
        self.asked = []
        self.measures = {"latency_ms": self.latency, "memory_mb": self.memory}

    def latency(self, architecture):
        self.asked.append(("latency_ms", architecture))
        return MODEL.cost(architecture).macs / 1e6 * (1 + score(architecture) / 4)

    def memory(self, architecture):
        self.asked.append(("memory_mb", architecture))
        return MODEL.cost(architecture).params / 1e5 + score(architecture)


def searcher(machine, kind=EvolutionSearcher, constraint=WINDOW, **settings):
    return kind(SPACE, constraint, measure=machine.measures, **settings)


def run(search):
    generations = []
    while candidates := search.ask():
        generations.append(candidates)
        search.tell([score(c.architecture) for c in candidates])
    return generations


def test_every_candidate_meets_every_window():
    machine = Machine()
    generations = run(searcher(machine, **SETTINGS))
    assert [len(generation) for generation in generations] == [10, 9, 9]
    truth = Machine()
    for candidate in (c for generation in generations for c in generation):
        a = candidate.architecture
        assert WINDOW.holds(MODEL.cost(a))
        measured = {"latency_ms": truth.latency(a), "memory_mb": truth.memory(a)}
        assert candidate.measured == measured
        assert WINDOW.measured_excess(measured) == 0
    assert len(machine.asked) == len(set(machine.asked))  # each once
    assert all(WINDOW.holds(MODEL.cost(a)) for _, a in machine.asked)  # closed forms first


def test_only_metrics_of_windows_are_measured():
    machine = Machine()
    run(searcher(machine, constraint=Constraint(memory_mb=(None, 4)), **SETTINGS))
    assert {metric for metric, _ in machine.asked} == {"memory_mb"}
    machine = Machine()
    candidates = searcher(machine, RandomSearcher, Constraint(), population=3).ask()
    assert machine.asked == []
    assert {tuple(c.measured) for c in candidates} == {()}


@pytest.mark.parametrize("stop", range(4))
def test_resumes_without_measuring_again(stop):
    whole = searcher(Machine(), **SETTINGS, seed=2)
    expected = run(whole)
    first = searcher(Machine(), **SETTINGS, seed=2)
    for _ in range(stop):
        first.tell([score(c.architecture) for c in first.ask()])
    machine = Machine()
    second = searcher(machine, **SETTINGS, seed=2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert run(second) == expected[stop:]
    told = {c.architecture for generation in expected[:stop] for c in generation}
    assert not told & {architecture for _, architecture in machine.asked}
    assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())


def test_nothing_found_says_what_was_reached():
    search = searcher(Machine(), RandomSearcher, Constraint(latency_ms=(500, 600)), population=3)
    with pytest.raises(ConstraintError) as info:
        search.ask()
    message = str(info.value)
    assert "\n" not in message
    for words in ("space glit", "latency 500 to 600 ms", "measured: latency_ms from", "widen"):
        assert words in message


def test_a_measured_window_needs_a_machine():
    with pytest.raises(ConfigError, match=r"memory_mb is measured, .* measure=\{'memory_mb'"):
        EvolutionSearcher(SPACE, Constraint(memory_mb=(1, 2)))


def test_values_of_any_metric_by_name():
    machine = Machine()
    budget = Budget(SPACE, WINDOW, measure=machine.measures, num_classes=1000)
    architecture = SPACE.sample(random.Random(0))
    assert budget.value("macs", architecture) == MODEL.cost(architecture).macs
    assert budget.value("params", architecture) == MODEL.cost(architecture).params
    value = budget.value("latency_ms", architecture)
    assert budget.value("latency_ms", architecture) == value
    assert len(machine.asked) == 1


def test_without_measured_windows_the_state_is_scores_alone():
    search = RandomSearcher(SPACE, population=2)
    search.ask()
    search.tell([0.5, 0.6])
    assert set(search.state_dict()) == {"generation", "scores"}
