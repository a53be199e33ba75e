"""What is typed is what a command gets, and what a command prints can be typed."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.commands.running import SMALL_SPACE, TINY, TINY_SEARCH, Outcome, files_below, run_here
from tests.commands.test_command_errors import refused
from vitsearch.commands.command_line import options_of, parse_override, read_arguments, value_of
from vitsearch.errors import ConfigError
from vitsearch.runs.command_line import command_text, override, shown_path

ODD = "lr=0.1, s=0 [a]#(b){c}~é 'q' \"d\" @&;!100%"
PATHS = st.text(st.sampled_from("ab0./=,~#[](){}'\"\\ éß-+:@&;!%*?<>|$"), min_size=1, max_size=12)
COMMON = st.text(st.sampled_from("ab0./=,~#[](){}é-+:@&;!%*?<>|$"), min_size=1, max_size=12)
PATH_SETTINGS = ("run_dir", "data.root", "checkpoint", "model.path", "resume", "hydra.sweep.dir")


@given(PATHS)
@example("1e5")
@example("null")
@example("True")
@example("1_0")
@example('\\"')
@example("a\\")
def test_hydra_reads_the_text_that_was_quoted(text: str) -> None:
    if "${" not in text:  # an interpolation, whatever the quotes
        parsed = parse_override(override("run_dir", text))
        assert parsed is not None
        assert parsed.value() == text
        several = parse_override(override("run", [text, "b"]))
        assert several is not None
        assert several.value() == [text, "b"]


@given(PATHS)
@example("~/a")
@example("~")
def test_a_command_that_is_printed_can_be_pasted(text: str) -> None:
    if "${" not in text:
        shown = shown_path(Path.cwd() / text)
        printed = command_text("train", override("resume", shown), "seed=1")
        *_, module, resume, seed = shlex.split(printed)
        assert (module, seed) == ("vitsearch.train", "seed=1")
        assert Path(value_of("resume", read_arguments([resume]))).absolute() == Path.cwd() / text


@given(COMMON, st.sampled_from(PATH_SETTINGS))
@example("1e5", "run_dir")
@example("true", "checkpoint")
@example("str(3)", "run_dir")
@example("[a]", "checkpoint")
@example("a,b", "data.root")
def test_a_path_is_what_was_typed(text: str, name: str) -> None:
    if "${" in text or text.startswith("~"):
        return
    (read,) = read_arguments([f"{name}={text}"])
    assert value_of(name, [read]) == text
    assert read_arguments([read]) == [read]


@given(COMMON, st.sampled_from(["", '"', "'"]))
def test_a_path_that_lightning_hands_to_its_processes(text: str, quote: str) -> None:
    text = f"./{quote}{text}"
    if "${" not in text:
        read = read_arguments([f'hydra.run.dir="{text}"', "hydra.output_subdir=null"])
        assert value_of("hydra.run.dir", read) == text


@pytest.mark.parametrize("typed", ["~/a=b", '"~/a=b"', "'~/a=b'"])
@pytest.mark.parametrize("name", [*PATH_SETTINGS, "objective.x.teacher.name", "optuna", "+mine"])
def test_home(name: str, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home of/me")
    (read,) = read_arguments([f"{name}={typed}"])
    assert value_of(name.lstrip("+"), [read]) == "/home of/me/a=b"


def test_lists_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    (read,) = read_arguments(["run=[~/a,b,lr=1]"])
    assert value_of("run", [read]) == ["/me/a", "b", "lr=1"]
    (read,) = read_arguments(['run=["b, c",d]'])
    assert value_of("run", [read]) == ["b, c", "d"]


@pytest.mark.parametrize(
    "argument",
    [
        "seed=0,1",
        "~searcher.population",
        "+space=glit",
        "space.mlp.ratios=[2,3]",
        "run_dir=null",
        "run_dir=outputs/${now:%Y}",
        "checkpoint=",
        "-m",
        "--config-dir=a=b",
        "optimizer.opt=a#b",
        "+model.options={a: 1}",
    ],
)
def test_all_else_is_left_to_hydra(argument: str) -> None:
    assert read_arguments([argument]) == [argument]


def test_sweeps_of_paths_stay_sweeps() -> None:
    assert read_arguments(["-m", "data.root=a,b"]) == ["-m", "data.root=a,b"]
    assert options_of("space", ["-m", '+space=glit,"a=b.yaml"']) == {"glit", "a=b.yaml"}


SWEEP = ("-m", "hydra.sweep.dir=sweep", *TINY, "trainer.max_steps=x")


@pytest.mark.parametrize(
    "words",
    [
        ("+space=glit,vitas", "space.num_blocks=2"),
        ("+space=glit,vitas", "+space.num_blocks=2"),
        ("+space=glit,vitas", "++space.num_blocks=2"),
        ("+space=glit", "space.num_blocks=2,3"),
        ("+space=glit", "space/mixer=glit_demo,glit"),
    ],
)
def test_a_sweep_with_a_setting_of_the_space(words: tuple[str, ...], tmp_path: Path) -> None:
    """The one mistake in it is found in the first job, so the space was composed."""
    outcome = run_here("train", *SWEEP, *words, folder=tmp_path)
    assert outcome.code == 2
    assert outcome.err.startswith("vitsearch: trainer.max_steps=x must be"), outcome.err


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="space/mixer=glit is a part of one space"):
        read_arguments(["-m", "+space=glit,vitas", "space/mixer=glit"])
    refused(run_here("train", "foo", folder=tmp_path), "foo", "name=value")
    line = refused(run_here("train", "optimizer.opt=a#b", folder=tmp_path), "optimizer.opt=a#b")
    (remedy,) = shlex.split(line.rpartition(": ")[2])
    assert value_of("optimizer.opt", [remedy]) == "a#b"
    wrong = "space.mlp.ratios=[2,3"
    refused(run_here("train", "+space=glit", wrong, folder=tmp_path), wrong, "bracket")


def printed_commands(outcome: Outcome) -> dict[str, list[str]]:
    """The arguments of each command that was printed, by name."""
    found = re.findall(r"python -m vitsearch\.(\w+) (.*)$", outcome.out, re.MULTILINE)
    return {name: shlex.split(words) for name, words in found}


def test_a_run_folder_with_an_odd_name_on_every_command(tmp_path: Path) -> None:
    run, typed = tmp_path / "runs" / ODD, f"runs/{ODD}"
    trained = run_here("train", *SMALL_SPACE, *TINY, f"run_dir={typed}", folder=tmp_path)
    printed = printed_commands(trained.succeeded())
    assert set(printed) == {"search", "retrain"}
    again = run_here("train", f"resume={typed}", folder=tmp_path).succeeded()
    assert "is finished" in again.out
    for name, more in (
        ("search", TINY_SEARCH),
        ("retrain", ("trainer.max_epochs=1", "+trainer.limit_train_batches=1")),
    ):
        words = [*printed[name], *more, f"run_dir={name} {ODD.replace('/', '')}"]
        outcome = run_here(name, *words, folder=tmp_path).succeeded()
        printed |= printed_commands(outcome)
    assert set(printed) == {"search", "retrain", "evaluate", "export"}
    run_here("evaluate", *printed["evaluate"], "speed=null", folder=tmp_path).succeeded()
    run_here("export", f"model={typed}", "format=safetensors", folder=tmp_path).succeeded()
    run_here("report", f"run={typed}", folder=tmp_path).succeeded()
    page = html.unescape((run / "report.html").read_text(encoding="utf-8"))
    commands = re.findall(r"(?:[>\n])(python -m vitsearch\..*?)(?:<|$)", page, re.MULTILINE)
    assert len(commands) == 6
    for command in commands[1:]:
        name, _, value = shlex.split(command)[3].partition("=")
        assert name in ("checkpoint", "architecture", "model", "run")
        assert value_of(name, read_arguments([f"{name}={value}"])) == typed
    assert "n=x" in run_here("audit", f"checkpoint={typed}", "n=x", folder=tmp_path).err
    assert {"export", "report"} <= {path.name for path in run.iterdir() if path.is_dir()}


def test_a_space_in_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    own = Path(__file__).parents[2] / "examples" / "extend" / "two_stages.yaml"
    (tmp_path / ODD).mkdir()
    shutil.copy(own, tmp_path / ODD / "mine=1.yaml")
    words = (f"+space={ODD}/mine=1.yaml", "format=json", "num_samples=2")
    outcome = run_here("describe", *words, folder=tmp_path).succeeded()
    assert json.loads(outcome.out)["size"] > 1
    assert files_below(tmp_path) == {f"{ODD}/mine=1.yaml"}
