"""What a run has left: all of it, parts of it, damaged parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.reports.made_runs import NUM_IMAGES, make_run, small_space, write

from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError, HistoryError
from vitsearch.reports.facts.run_record import read_run
from vitsearch.searchers import EvolutionSearcher, Nsga2Searcher


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_all_of_a_run(run: Path) -> None:
    record = read_run(run)
    lines = (run / "search" / "history.jsonl").read_text().splitlines()
    best = json.loads((run / "search" / "best.json").read_text())
    assert [trial.number for trial in record.trials] == list(range(1, len(lines) + 1))
    for trial, line in zip(record.trials, map(json.loads, lines), strict=True):
        assert trial.architecture.digest == trial.digest == line["digest"]
        assert (trial.costs, trial.score) == (
            {n: line[n] for n in ("macs", "params")},
            line["top1"],
        )
    assert record.best is not None
    assert record.best.digest == best["digest"]
    assert record.space == small_space()
    assert (record.num_classes, record.num_images) == (10, NUM_IMAGES)
    assert record.command == "python -m vitsearch.train +space=glit"
    assert record.config["seed"] == 0
    assert set(record.networks) == {"best", "largest"}
    assert record.versions == {"python": "3.11", "torch": "2.14"}
    assert record.is_searched
    assert record.is_finished


def test_a_front_and_its_budget(tmp_path: Path) -> None:
    constraint = Constraint(params=(None, "1M"))
    searcher = Nsga2Searcher(small_space(), constraint, population=10, generations=3)
    record = read_run(make_run(tmp_path / "run", searcher=searcher, constraint=constraint))
    assert record.minimise == ("macs",)
    assert record.constraint == constraint
    found = [(trial.costs["macs"], trial.score) for trial in record.front]
    assert found == sorted(found)
    assert found[-1][1] == max(trial.score for trial in record.trials)


def test_a_search_that_is_interrupted(run: Path) -> None:
    for name in ("search/best.json", "search/result.json", "finished.json"):
        (run / name).unlink()
    file = run / "search" / "history.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:7]) + lines[7][:30])
    record = read_run(run)
    assert len(record.trials) == 7
    assert not record.is_searched
    assert not record.is_finished
    assert record.best is not None
    assert record.best.score == max(trial.score for trial in record.trials)
    assert record.space == small_space()  # from config.yaml


def test_candidates_that_were_given_up_are_not_the_best(run: Path) -> None:
    (run / "search" / "best.json").unlink()
    file = run / "search" / "history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[3] |= {"total": 50, "top1": 1.0, "correct": 50}
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    record = read_run(run)
    assert len(record.whole) == len(record.trials) - 1
    assert record.best is not None
    assert record.best.score < 1


def test_a_training_without_a_search(run: Path) -> None:
    for file in (run / "search").iterdir():
        file.unlink()
    record = read_run(run)
    assert record.trials == ()
    assert record.best is None
    assert len(record.metrics) == 8
    assert record.metrics[0] == {
        "epoch": 0,
        "step": 0,
        "val/top1_largest": 0.5,
        "val/top1_smallest": 0.4,
    }


def test_phases_come_in_their_order(tmp_path: Path) -> None:
    phases = [{"name": "heads"}, {"name": "details"}, {"name": "all"}]
    run = make_run(tmp_path / "run", config={"searcher": {"phases": phases}})
    for phase in ("details", "heads"):
        searcher = EvolutionSearcher(small_space(), Constraint(), population=4, generations=1)
        make_run(run / "phases" / phase, searcher=searcher)
    assert [phase.name for phase in read_run(run).phases] == ["heads", "details"]


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "best").mkdir()
    with pytest.raises(ConfigError, match=r"neither search/history\.jsonl nor metrics\.csv"):
        read_run(tmp_path / "best")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("search/history.jsonl", '{"digest": 3}\n', "line 1 is no candidate"),
        ("search/history.jsonl", "no json\n", "line 1 is no candidate"),
        ("search/best.json", "{", "is damaged"),
        ("search/front.json", "[]", "is no JSON object"),
        ("config.yaml", "a: [", "is damaged"),
    ],
)
def test_damaged_files_are_named(name: str, text: str, words: str, run: Path) -> None:
    (run / name).write_text(text)
    with pytest.raises(HistoryError, match=words) as caught:
        read_run(run)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_starts_add_up_and_versions_of_each_are_kept(run: Path) -> None:
    starts = [{"seconds": 2, "versions": {"torch": "2.14"}}, {"versions": {"torch": "2.15"}}]
    write(run / "timing.json", {"search": starts})
    assert read_run(run).versions == {"torch": "2.14, 2.15"}
