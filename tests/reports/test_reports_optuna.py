"""A history as an Optuna study, read back by Optuna."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.reports.made_runs import make_run, small_space, write

from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError, MissingExtraError
from vitsearch.reports import to_optuna
from vitsearch.reports.facts.run_record import read_run
from vitsearch.searchers import EvolutionSearcher, Nsga2Searcher

optuna = pytest.importorskip("optuna")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    searcher = EvolutionSearcher(
        small_space(), Constraint(), population=6, generations=2, mutations=2, crossovers=2
    )
    return make_run(tmp_path / "run", searcher=searcher)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of studies; making one takes a second."""
    file = tmp_path_factory.mktemp("optuna") / "studies.db"
    optuna.storages.get_storage(f"sqlite:///{file}")
    return str(file)


def test_every_candidate_comes_back(run: Path, storage: str) -> None:
    url = to_optuna(run, storage, name="all")
    study = optuna.load_study(study_name="all", storage=url)
    record, space = read_run(run), small_space()
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.metric_names == ["top1"]
    assert len(study.trials) == len(record.trials) == 10
    for found, trial in zip(study.trials, record.trials, strict=True):
        assert found.params == trial.architecture.to_dict()  # inactive choices are absent
        assert found.value == trial.score
        attributes = found.user_attrs
        assert attributes["digest"] == trial.digest
        assert attributes["parents"] == list(trial.parents)
        assert attributes["macs"] == trial.costs["macs"]
        assert {"generation", "origin", "total", "params"} <= set(attributes)
        for name, distribution in found.distributions.items():
            assert distribution.choices == space.choice(name).options
    assert record.best is not None
    assert study.user_attrs["best"] == record.best.digest
    assert study.best_value == record.best.score


def test_a_front_has_directions(tmp_path: Path, storage: str) -> None:
    searcher = Nsga2Searcher(
        small_space(),
        minimise=["params", "macs"],
        population=6,
        generations=2,
        mutations=2,
        crossovers=2,
    )
    run = make_run(tmp_path / "run", searcher=searcher)
    url = to_optuna(run, storage, name="front")
    study = optuna.load_study(study_name="front", storage=url)
    assert [direction.name for direction in study.directions] == [
        "MAXIMIZE",
        "MINIMIZE",
        "MINIMIZE",
    ]
    assert study.metric_names == ["top1", "params", "macs"]
    record = read_run(run)
    digests = {trial.user_attrs["digest"] for trial in study.best_trials}
    assert {trial.digest for trial in record.front} <= digests


def test_what_was_given_up_is_pruned(run: Path, storage: str) -> None:
    file = run / "search" / "history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[2] |= {"correct": 60, "total": 100, "top1": 0.6}
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    url = to_optuna(run, storage, name="halved")
    study = optuna.load_study(study_name="halved", storage=url)
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert [trial.number for trial in pruned] == [2]
    assert pruned[0].intermediate_values == {100: lines[2]["top1"]}


def test_exported_again(run: Path, storage: str) -> None:
    """The same search replaces itself; nothing else is touched."""
    url = to_optuna(run, storage)
    optuna.create_study(study_name="mine", storage=url)
    assert to_optuna(run, url) == url
    assert len(optuna.load_study(study_name="run", storage=url).trials) == 10
    for name, words in (("mine", "study mine"), ("run", "study run")):
        write(run / "search" / "settings.json", {"weights": "others"})
        with pytest.raises(ConfigError, match=rf"{words} that is not an export of this search"):
            to_optuna(run, storage, name=name)
    assert {"run", "mine"} <= set(optuna.get_all_study_names(storage=url))
    assert len(optuna.load_study(study_name="run", storage=url).trials) == 10


def test_what_cannot_be_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        to_optuna(run, tmp_path / "nowhere" / "study.db")
    (run / "search" / "history.jsonl").write_text("")
    with pytest.raises(ConfigError, match="no history to export"):
        to_optuna(run, tmp_path / "study.db")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitsearch\[optuna\]'"):
        to_optuna(run, tmp_path / "study.db")
    assert not (tmp_path / "study.db").exists()
