"""Commands that were killed or interrupted, and started again: real processes, real signals."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import vitsearch
from tests.commands.killing import end, kill_when, lines_of, results, start, weights
from tests.commands.running import (
    SMALL_SPACE,
    TINY_SEARCH,
    Outcome,
    files_below,
    read_history,
    run_here,
)

# Everything that draws random numbers, a checkpoint after each step, and 13 candidates.
RUN = (
    *SMALL_SPACE,
    "callbacks=with_ema",
    "callbacks.checkpoint.every_n_steps=1",
    "callbacks.search.use_test_split=false",
    "callbacks.search.report=false",
    "data.batch_size=16",
    "++data.search_per_class=5",
    "data.statistics_images=40",
    "model.drop_path_rate=0.2",
    "model.mixup=0.3",
    "searcher.crossovers=2",
    "searcher.generations=3",
    "searcher.mutations=2",
    "searcher.population=5",
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=1",
    "trainer.devices=1",
    "trainer.max_epochs=2",
    "+trainer.limit_train_batches=6",
)
SHORT = (*RUN, "trainer.max_epochs=1", "+callbacks.ema.update_every_n_steps=1")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    assert end(start("train", *RUN, "run_dir=run", folder=folder)) == 0
    assert lines_of(folder / "run") == 13
    return folder / "run"


def steps_of(run: Path) -> int:
    """How many steps the checkpoint has seen."""
    try:
        return int(torch.load(run / "supernet.ckpt", weights_only=True)["global_step"])
    except FileNotFoundError:
        return 0


def assert_same(run: Path, straight: Path) -> None:
    assert results(run) == results(straight)
    assert weights(run) == weights(straight)
    assert files_below(run) == files_below(straight)  # nothing half written is left
    expected = vitsearch.load_supernet(straight).state_dict()
    for name, tensor in vitsearch.load_supernet(run).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_killed_at_any_moment(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    moments: Sequence[Callable[[], bool]] = (
        lambda: (run / "config.yaml").is_file(),
        lambda: steps_of(run) >= 2,
        lambda: steps_of(run) >= 8,  # in the second epoch
        lambda: lines_of(run) >= 1,
        lambda: lines_of(run) >= 8,  # in the second generation
        lambda: (run / "best").is_dir(),
    )
    for moment in moments:
        process = start("train", *RUN, "run_dir=run", folder=tmp_path)
        assert kill_when(process, moment, signal.SIGKILL) in (-signal.SIGKILL, 0)
    assert end(start("train", *RUN, "run_dir=run", folder=tmp_path)) == 0
    assert_same(run, straight)
    printed = (tmp_path / ".out").read_text()
    assert "going on with the training" in printed
    assert "going on with the search after " in printed
    assert (tmp_path / ".err").read_text() == ""


def test_interrupted_and_continued_as_the_line_says(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    moments = (
        (signal.SIGINT, 130, lambda: steps_of(run) >= 3),
        (signal.SIGTERM, 143, lambda: lines_of(run) >= 4),
    )
    command: tuple[str, ...] = (*RUN, "run_dir=my run")
    for signum, code, moment in moments:
        assert kill_when(start("train", *command, folder=tmp_path), moment, signum) == code
        *_, acknowledged, line = (tmp_path / ".err").read_text().splitlines()
        assert acknowledged == "vitsearch: ending at the next safe point; once more ends at once"
        found = re.search(r"^vitsearch: interrupted; .* go on with: (.*)$", line)
        assert found is not None, line
        python, dash_m, module, *overrides = shlex.split(found[1])
        assert (python, dash_m, module) == ("python", "-m", "vitsearch.train")
        assert overrides == ["resume=my run"]
        command = tuple(overrides)
    assert end(start("train", *command, folder=tmp_path)) == 0
    assert_same(run, straight)
    assert "Traceback" not in (tmp_path / ".err").read_text()


def test_a_finished_run_is_left_alone(straight: Path, tmp_path: Path) -> None:
    before = {name: (straight / name).stat().st_mtime_ns for name in files_below(straight)}
    for overrides in ([*RUN, f"run_dir={straight}"], [f"resume={straight}"]):
        outcome = run_here("train", *overrides, folder=tmp_path).succeeded()
        (line,) = outcome.out.splitlines()
        assert line.startswith("vitsearch: this run is finished")
        assert line.endswith(str(straight / "best"))
        assert outcome.err == ""
    assert {n: (straight / n).stat().st_mtime_ns for n in files_below(straight)} == before
    assert files_below(tmp_path) == set()


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome.out
    (line,) = outcome.err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.max_epochs=3", "trainer.max_epochs was 2, not 3"),
        ("seed=1", "seed was 0, not 1"),
        ("searcher.population=6", "searcher.population was 5, not 6"),
        ("model.mixup=0", "model.mixup was 0.3, not 0"),
        ("+callbacks.mine._target_=a.B", "callbacks.mine._target_ was not set, not a.B"),
    ],
)
def test_other_settings_are_another_run(
    override: str, words: str, straight: Path, tmp_path: Path
) -> None:
    outcome = run_here("train", *RUN, f"run_dir={straight}", override, folder=tmp_path)
    refused(outcome, words, "choose a fresh run_dir")
    outcome = run_here("train", f"resume={straight}", override, folder=tmp_path)
    refused(outcome, words, "leave it out")
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=2",
        "logger=tensorboard",
        "callbacks.progress=null",
        "data.num_workers=1",
    ],
)
def test_settings_of_where_and_how_may_change(
    override: str, straight: Path, tmp_path: Path
) -> None:
    for given in ([f"resume={straight}"], [*RUN, f"run_dir={straight}"]):
        outcome = run_here("train", *given, override, folder=tmp_path).succeeded()
        assert "finished" in outcome.out


def test_overrides_that_repeat_the_run_are_no_change(straight: Path, tmp_path: Path) -> None:
    run_here("train", *RUN, f"resume={straight}", folder=tmp_path).succeeded()


def test_a_run_that_was_moved(straight: Path, tmp_path: Path) -> None:
    shutil.copytree(straight, tmp_path / "moved")
    (tmp_path / "moved" / "finished.json").unlink()
    (tmp_path / "moved" / "best" / "model.safetensors").unlink()
    outcome = run_here("train", "resume=moved", folder=tmp_path).succeeded()
    assert "13 candidates, 13 of them from before" in outcome.out
    assert_same(tmp_path / "moved", straight)
    assert str(straight) not in (tmp_path / "moved" / "config.yaml").read_text()


def test_folders_that_are_no_run_of_the_command(straight: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: 1\n")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(straight / "supernet.ckpt", bare)
    for command, overrides, words in (
        ("train", ["resume=nowhere"], ["resume=nowhere is no folder"]),
        ("train", ["resume=empty"], ["resume=empty", "no config.yaml"]),
        ("train", ["resume=other"], ["config.yaml is no configuration of a run"]),
        ("train", ["resume=other", "run_dir=empty"], ["leave out run_dir=empty"]),
        ("train", ["resume=other", "--multirun"], ["one run"]),
        ("train", [*RUN, "run_dir=bare"], ["results but no config.yaml"]),
        (
            "search",
            [f"checkpoint={straight}", f"run_dir={straight}"],
            ["holds a run of vitsearch.train"],
        ),
    ):
        refused(run_here(command, *overrides, folder=tmp_path), *words)
    assert files_below(tmp_path) == {"other/config.yaml", "bare/supernet.ckpt"}


def test_a_run_that_has_left_nothing_may_change(straight: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(straight / "config.yaml", tmp_path / "run")
    outcome = run_here("train", *SHORT, "callbacks.search=null", "run_dir=run", folder=tmp_path)
    assert "vitsearch.search checkpoint=run" in outcome.succeeded().out
    again = run_here("train", "resume=run", folder=tmp_path).succeeded()
    assert "the supernet is in" in again.out


def test_a_damaged_history_ends_with_a_line(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    (run / "finished.json").unlink()
    history = run / "search" / "history.jsonl"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join([*lines[:3], "oh no\n", *lines[4:]]))
    refused(run_here("train", "resume=run", folder=tmp_path), "line 4", f"delete {run / 'search'}")
    history.write_text("".join([*lines[:3], lines[3][:40]]))  # torn
    run_here("train", "resume=run", folder=tmp_path).succeeded()
    assert_same(run, straight)


def test_a_search_that_was_killed(straight: Path, tmp_path: Path) -> None:
    options = (f"checkpoint={straight}", *TINY_SEARCH, "searcher.population=8", "seed=3")
    whole = run_here("search", *options, "run_dir=whole", folder=tmp_path).succeeded()
    run = tmp_path / "run"
    for given, number, signum, code in (
        ((*options, "run_dir=run"), 3, signal.SIGKILL, -9),
        (("resume=run",), 7, signal.SIGINT, 130),
    ):
        process = start("search", *given, folder=tmp_path)
        assert kill_when(process, lambda n=number: lines_of(run) >= n, signum) in (code, 0)
    run_here("search", *options, "run_dir=run", folder=tmp_path).succeeded()
    assert results(run) == results(tmp_path / "whole")
    assert files_below(run) == files_below(tmp_path / "whole")
    assert len(read_history(run)) == 12
    assert "generation 1" in whole.out
    again = run_here("search", "resume=run", folder=tmp_path).succeeded()
    assert "this run is finished" in again.out
    refused(
        run_here("search", *options, "run_dir=run", "seed=4", folder=tmp_path),
        "seed was 3, not 4",
    )


def test_a_run_says_which_command_it_is_of(straight: Path, tmp_path: Path) -> None:
    """A folder of before does not say; it goes on all the same, and with its own command only."""
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    text = (run / "config.yaml").read_text()
    assert text.count("\ncommand: train\n") == 1
    for written in (text, text.replace("\ncommand: train\n", "\n")):
        (run / "config.yaml").write_text(written)
        assert "finished" in run_here("train", "resume=run", folder=tmp_path).succeeded().out
        outcome = run_here("train", *RUN, "run_dir=run", folder=tmp_path)
        assert "finished" in outcome.succeeded().out
        outcome = run_here("search", "resume=run", folder=tmp_path)
        refused(outcome, "resume=run", "a run of vitsearch.train, not of vitsearch.search")
