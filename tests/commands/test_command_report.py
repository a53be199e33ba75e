"""`vitsearch.report`, and the report that every search ends with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.commands.running import (
    TINY_SEARCH,
    Outcome,
    files_below,
    run_here,
    run_module,
)
from vitsearch.reports.facts.run_record import read_run

QUICK = tuple(option for option in TINY_SEARCH if option != "report=false")


def test_a_training_ends_with_a_report(trained: Outcome) -> None:
    run = trained.run
    assert f"report: {run / 'report.html'}" in trained.out
    assert "all in pictures: " in trained.out
    html = (run / "report.html").read_text()
    record = read_run(run)
    assert record.best is not None
    for words in (
        "glit on FashionMini",
        record.best.digest,
        "python -m vitsearch.train +space=glit space.num_blocks=2",
        "python -m vitsearch.audit",
        "1 x cpu",
        "3 steps",
        "8 candidates",
    ):
        assert words in html, words
    assert {"training.png", "progress.png"} <= {path.name for path in (run / "report").iterdir()}
    assert record.timing["training"][0]["last_step"] == 3
    assert record.timing["search"][0]["seconds"] > 0
    assert {"python", "torch", "pytorch-lightning"} <= set(record.versions)
    assert record.networks["best"]["digest"] == record.best.digest
    assert record.networks["best"]["search_top1"] == record.best.score
    assert record.networks["largest"]["test_top1"] is None


def test_a_search_ends_with_a_report_and_says_so_again(trained: Outcome, tmp_path: Path) -> None:
    arguments = (f"checkpoint={trained.run}", "use_test_split=false", *QUICK, "run_dir=found")
    first = run_here("search", *arguments, folder=tmp_path).succeeded()
    assert "report: " in first.out
    assert "glit on FashionMini" in (tmp_path / "found" / "report.html").read_text()
    again = run_here("search", *arguments, "report=false", folder=tmp_path).succeeded()
    assert "nothing is left to do" in again.out
    assert "report.html" in again.out


def test_a_search_is_worth_more_than_its_pictures(
    trained: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = (f"checkpoint={trained.run}", "use_test_split=false", *QUICK, "run_dir=found")
    outcome = run_here("search", *arguments, folder=tmp_path).succeeded()
    lines = [line for line in outcome.out.splitlines() if line.startswith("no report: ")]
    assert len(lines) == 1
    assert "matplotlib" in lines[0]
    left = files_below(tmp_path / "found")
    assert {"search/best.json", "finished.json"} <= left
    assert not [name for name in left if "report" in name]


def test_the_command_makes_it_again(trained: Outcome, tmp_path: Path) -> None:
    shutil.copytree(trained.run, tmp_path / "mine")
    before = (tmp_path / "mine" / "search" / "history.jsonl").read_bytes()
    for name in ("report.html", "report/progress.png"):
        (tmp_path / "mine" / name).unlink()
    outcome = run_here("report", "run=mine", folder=tmp_path).succeeded()
    assert (outcome.out, outcome.err) == ("report: mine/report.html\n", "")
    assert (tmp_path / "mine" / "report" / "progress.png").is_file()
    assert (tmp_path / "mine" / "search" / "history.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_several_runs_and_studies(trained: Outcome, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    for name in ("a", "b"):
        shutil.copytree(trained.run, tmp_path / name)
    outcome = run_here("report", "run=[a,b]", "optuna=s.db", folder=tmp_path).succeeded()
    page = next(iter(tmp_path.glob("outputs/*/*/report.html")))
    report, studies = outcome.out.splitlines()
    assert report == f"report: {page.relative_to(tmp_path)}"
    assert studies == "studies: a, b; look at them: optuna-dashboard sqlite:///s.db"
    assert outcome.err == ""
    names = optuna.get_all_study_names(storage=f"sqlite:///{tmp_path / 's.db'}")
    assert sorted(names) == ["a", "b"]
    assert "differ in nothing" in page.read_text()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), ("no run", "run=<run folder>")),
        (("run=[]",), ("no run",)),
        (("run=nowhere",), ("run=nowhere does not exist",)),
        (("run=empty",), ("run=empty is no run folder", "search/history.jsonl")),
        (("run=[{run},{run}]",), ("named twice",)),
        (("run={run}", "optuna=nowhere/s.db"), ("sqlite:///nowhere/s.db cannot be opened",)),
        (("run=damaged",), ("history.jsonl is damaged", "line 1")),
        (("rum=3",), ("did you mean run?",)),
        (("-m", "run={run}"), ("--multirun", "run=[a,b]")),
    ],
)
def test_user_mistakes(
    overrides: tuple[str, ...], words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged" / "search").mkdir(parents=True)
    (tmp_path / "damaged" / "search" / "history.jsonl").write_text("{}\n")
    given = [override.format(run=trained.run) for override in overrides]
    report = (trained.run / "report.html").read_bytes()
    outcome = run_here("report", *given, folder=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith("vitsearch: ")
    assert all(word in line for word in words), line
    assert files_below(tmp_path) == {"damaged/search/history.jsonl"}
    assert (trained.run / "report.html").read_bytes() == report


@pytest.mark.slow
def test_a_process_of_its_own(trained: Outcome, tmp_path: Path) -> None:
    outcome = run_module(
        "vitsearch.report", f"run={trained.run}", f"run_dir={tmp_path / 'out'}", folder=tmp_path
    )
    assert outcome.succeeded().err == ""
    assert outcome.out == "report: out/report.html\n"
