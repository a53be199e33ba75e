"""Samplers of Optuna: which there are, what their trials hold, and how they end."""

from __future__ import annotations

import json
import sys
from typing import Any

import optuna
import pytest
from tests.searchers.test_searchers_guided import run, seen, separable

from vitsearch import build_space
from vitsearch.costs import Constraint, CostModel
from vitsearch.errors import ConfigError, MissingExtraError
from vitsearch.searchers import OptunaSearcher
from vitsearch.searchers import optuna as bridge

SPACE = build_space("glit", num_blocks=2)
SMALL: dict[str, Any] = {"population": 6, "generations": 3, "batch": 3}


@pytest.mark.parametrize(
    "sampler", ["TPESampler", "random", "QMC", "nsgaii", "nsgaiii", "GPSampler"]
)
def test_samplers_by_name(sampler: str, capfd: pytest.CaptureFixture[str]) -> None:
    verbosity = optuna.logging.get_verbosity()
    search = OptunaSearcher(SPACE, sampler=sampler, **SMALL)
    generations = run(search, separable(SPACE, 0))
    assert len(set(seen(generations))) == 12
    assert {c.origin for c in generations[1]} <= {"sampler", "random"}
    assert optuna.logging.get_verbosity() == verbosity
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sampler", ["qmc", "nsgaii", "nsgaiii", "gp"])
def test_a_study_made_again_goes_on_the_same(sampler: str) -> None:
    settings: dict[str, Any] = {"population": 5, "generations": 4, "batch": 4, "sampler": sampler}
    if sampler.startswith("nsga"):
        settings["sampler_settings"] = {"population_size": 3}
    score = separable(SPACE, 0)
    whole = OptunaSearcher(SPACE, **settings)
    expected = run(whole, score)
    first = OptunaSearcher(SPACE, **settings)
    for stop in range(1, 4):
        first.tell([score(c.architecture) for c in first.ask()])
        second = OptunaSearcher(SPACE, **settings)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert run(second, score) == expected[stop:]
    assert second.state_dict() == whole.state_dict()


def test_settings_of_a_sampler_and_samplers_of_ones_own() -> None:
    found = [
        run(OptunaSearcher(SPACE, sampler=kind, sampler_settings=given, **SMALL))
        for kind, given in (
            ("tpe", {"n_startup_trials": 100}),
            (optuna.samplers.TPESampler, {"n_startup_trials": 100}),
            ("tpe", {"n_startup_trials": 2}),
        )
    ]
    assert found[0] == found[1] != found[2]


def test_trials_hold_active_choices_alone() -> None:
    space = build_space("vt")
    search = OptunaSearcher(space, sampler="random", population=5, generations=4, batch=5)
    generations = run(search, separable(space, 0))
    free = {c.name for c in space.choices if len(c.options) > 1}
    trials = search.state_dict()["trials"]
    complete = [params for params, state, *_ in trials if state == "COMPLETE"]
    assert [set(params) for params in complete] == [set(a) & free for a in seen(generations)]
    assert len({frozenset(params) for params in complete}) > 1


def test_what_is_outside_the_budget_ends_as_pruned_and_is_not_scored() -> None:
    model = CostModel(SPACE)
    middle = model.cost(SPACE.largest()).macs // 2
    search = OptunaSearcher(SPACE, Constraint(macs=(None, middle)), sampler="random", **SMALL)
    scored = seen(run(search, separable(SPACE, 0)))
    states = [state for _, state, *_ in search.state_dict()["trials"]]
    assert states.count("COMPLETE") == len(scored) == 12
    assert states.count("PRUNED") > 0
    assert len(states) == len(scored) + states.count("PRUNED")
    values = [value for _, state, value, _ in search.state_dict()["trials"] if state == "PRUNED"]
    assert set(values) == {None}


def test_early_drops_end_as_pruned() -> None:
    search = OptunaSearcher(SPACE, **SMALL)
    search.ask()
    search.tell([0.1, None, 0.2, None, 0.3, 0.4])
    states = [state for _, state, *_ in search.state_dict()["trials"]]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": "nope"}, "sampler=nope is unknown; legal: cmaes, gp, nsgaii"),
        ({"sampler": "GridSampler"}, "sampler=GridSampler is unknown"),
        ({"sampler": 3}, "sampler=3 is unknown"),
        ({"sampler_settings": {"nope": 1}}, "sampler=tpe refuses: .*nope"),
        ({"sampler_settings": [1]}, "sampler_settings=.* must be arguments by name"),
    ],
)
def test_samplers_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"searcher\.{words}") as info:
        OptunaSearcher(SPACE, **settings)
    assert "\n" not in str(info.value)


def test_what_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"sampler=cmaes needs cmaes, .* pip install cmaes"):
        OptunaSearcher(SPACE, sampler="cmaes")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitsearch\[optuna\]'"):
        OptunaSearcher(SPACE)
