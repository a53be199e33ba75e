"""A command is a module and a file of `conf/`: here both are made, and it does what commands do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.commands.running import files_below
from vitsearch.commands import command as made_by
from vitsearch.commands.session import Session
from vitsearch.commands.spec import RunSpec
from vitsearch.errors import ConfigError
from vitsearch.runs import signals
from vitsearch.runs.lock import sole_run

CONF = """
defaults: [_self_, {override hydra/job_logging: none}, {override hydra/hydra_logging: none}]
greeting: hello
seed: 0
run_dir: outputs
resume: null
hydra: {run: {dir: "${run_dir}"}, output_subdir: null}
"""


def greet(config: DictConfig, session: Session) -> None:
    """Write a greeting into the run folder."""
    run = RunSpec(folder=session.folder, config=config)
    if not session.is_finished(run):
        session.begin(run, lambda: f"panel of {config.greeting}")
        (run.folder / "greeting.txt").write_text(config.greeting)
        session.finish(run, lambda: "what comes next")


@pytest.fixture
def greets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "greet.yaml").write_text(CONF)
    monkeypatch.setattr(made_by, "config_dir", lambda: tmp_path / "conf")
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vitsearch.greet", *overrides])
        code = 0
        try:
            made_by.command("greet", resumes=True)(greet)()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, "".join(capsys.readouterr())

    return run


def test_it_runs_and_goes_on_and_refuses(greets, tmp_path: Path) -> None:
    code, printed = greets("run_dir=a=b")
    assert (code, printed.splitlines()) == (0, ["panel of hello", "what comes next"])
    assert files_below(tmp_path / "a=b") == {"config.yaml", "finished.json", "greeting.txt"}
    written = (tmp_path / "a=b" / "config.yaml").read_text()
    assert written.startswith("# python -m vitsearch.greet 'run_dir=\"a=b\"'\n")
    assert "\ncommand: greet\n" in written
    for overrides in (["run_dir=a=b"], ["resume=a=b"]):
        code, printed = greets(*overrides)
        assert code == 0
        assert "this run is finished" in printed
    code, printed = greets("resume=a=b", "greeting=bye")
    assert code == 2
    assert "greeting was hello, not bye" in printed
    code, printed = greets("seed=-1", "run_dir=b")
    assert (code, (tmp_path / "b").exists()) == (2, False)
    assert "seed=-1" in printed


def test_a_start_that_is_refused_hands_the_signals_back(tmp_path: Path) -> None:
    before = [signals.signal.getsignal(number) for number in signals.SIGNALS]
    with (
        sole_run(tmp_path, "greet"),
        pytest.raises(ConfigError, match="a run is going on there"),
        Session("greet", tmp_path, locks=True),
    ):
        pass
    assert [signals.signal.getsignal(number) for number in signals.SIGNALS] == before
