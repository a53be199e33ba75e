"""`vitsearch.transform`: better architectures than given ones, from a trained supernet."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

import vitsearch
from tests.commands.killing import end, kill_when, lines_of, start
from tests.commands.running import Outcome, files_below, read_history, run_here, run_module
from vitsearch.costs import CostModel
from vitsearch.data import FashionMini

PLACE = ("trainer.devices=1", "trainer.accelerator=cpu")
QUIET = (*PLACE, "report=false", "use_test_split=false")
LEARNING = (
    "searcher=transformer",
    "searcher.learning=3",
    "searcher.inputs=2",
    "searcher.draws=3",
    "searcher.candidates=3",
)


@pytest.fixture
def run(trained: Outcome, tmp_path: Path) -> Path:
    """A run with a supernet."""
    return Path(shutil.copytree(trained.run, tmp_path / "trained"))


def digests(run: Path) -> list[str]:
    return [record["digest"] for record in read_history(run)]


def transformed(folder: Path) -> list[dict]:
    return json.loads((folder / "search" / "transformed.json").read_text())["transformed"]


@pytest.mark.parametrize("rule", ["cheaper", "within"])
def test_what_is_found_is_no_dearer_and_no_worse(rule: str, run: Path, tmp_path: Path) -> None:
    first, second, *_ = digests(run)
    outcome = run_here(
        "transform",
        "checkpoint=trained",
        f"architecture=[trained:{first},trained:{second}]",
        "searcher.candidates=6",
        f"rule={rule}",
        "run_dir=made",
        *PLACE,
        folder=tmp_path,
    ).succeeded()
    found = transformed(tmp_path / "made")
    assert [one["before"]["digest"] for one in found] == [first, second]
    for one in found:
        before, after = one["before"], one["after"]
        assert after["search"] >= before["search"]
        assert all(after["costs"][name] <= before["costs"][name] for name in ("macs", "params"))
        assert (before["digest"] == after["digest"]) == (not one["changes"])
        assert before["test"] is not None
        network = vitsearch.load_model(tmp_path / "made" / "models" / before["digest"])
        assert network.architecture.to_dict() == after["architecture"]
        assert before["digest"] in outcome.out
    history = read_history(tmp_path / "made")
    assert len({record["digest"] for record in history}) == len(history) <= 2 * 6
    assert "made/report.html" in outcome.out
    page = (tmp_path / "made" / "report.html").read_text()
    assert "From the given architectures" in page
    assert all(one["before"]["digest"] in page for one in found)
    again = run_here("transform", "resume=made", folder=tmp_path).succeeded()
    assert "nothing is left to do" in again.out


def test_the_test_split_is_left_alone(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the test split was read")

    monkeypatch.setattr(FashionMini, "test_dataloader", refuse)
    run_here(
        "transform",
        "checkpoint=trained",
        "architecture=trained",
        "searcher.candidates=3",
        *QUIET,
        folder=tmp_path,
    ).succeeded()


def test_a_policy_learns_once_and_is_used_again(run: Path, tmp_path: Path) -> None:
    first, second, *_ = digests(run)
    command = ("transform", "checkpoint=trained", *QUIET)
    run_here(
        *command, f"architecture=trained:{first}", *LEARNING, "run_dir=made", folder=tmp_path
    ).succeeded()
    learned = read_history(tmp_path / "made")
    assert {record["origin"] for record in learned} == {"given", "transformation"}
    used = ("searcher=transformer", "policy.path=made/policy", "searcher.candidates=3")
    run_here(
        *command, f"architecture=trained:{second}", *used, "run_dir=next", folder=tmp_path
    ).succeeded()
    assert len(read_history(tmp_path / "next")) <= 4
    outcome = run_here(
        *command,
        f"architecture=trained:{second}",
        *used,
        "rule=within",
        "run_dir=other",
        folder=tmp_path,
    )
    assert outcome.code == 2
    assert "another rule: cheaper, not within" in outcome.err
    assert files_below(tmp_path / "other") == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("architecture=trained", "rule=dearer"), "rule=dearer is not known; legal: cheaper"),
        (("architecture=trained", "searcher=random"), "cannot begin with given architectures"),
        (("architecture=vit_resnas_tiny",), "architecture=vit_resnas_tiny is none of"),
        (("architecture=trained", "policy.path=x"), "policy.path is for searcher=transformer"),
        (
            ("architecture=trained", "searcher=transformer", "searcher.rule=within"),
            "searcher.rule=within: here it is rule=within",
        ),
        (("architecture=nowhere",), "architecture=nowhere is unknown"),
        (("architecture=trained", "searcher.candidates=0"), "searcher.candidates=0"),
        (("architecture=trained", "table={a: {1: [2]}}"), "table goes with rule=table"),
        (
            ("architecture=trained", "rule=table", "table={mlp_ratio:{4:[5]}}"),
            "names 5, which is no option",
        ),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], words: str, run: Path, tmp_path: Path) -> None:
    outcome = run_here(
        "transform", "checkpoint=trained", *arguments, *QUIET, "run_dir=made", folder=tmp_path
    )
    assert outcome.code == 2, outcome.err
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert files_below(tmp_path / "made") == set()


def test_in_python(trained: Outcome) -> None:
    network = vitsearch.load_supernet(trained.run / "supernet.ckpt")
    space, given = network.space, network.space.largest()
    model = CostModel(space, network.num_classes)

    def smaller_is_better(architecture: vitsearch.Architecture) -> float:
        return -model.cost(architecture).macs

    found = vitsearch.transform(network, given, score=smaller_is_better, candidates=40)
    assert model.cost(found).macs < model.cost(given).macs
    assert vitsearch.transform(network, given, score=lambda _: 1.0, candidates=5) == given
    with pytest.raises(vitsearch.VitSearchError, match=r"score=.*calibration="):
        vitsearch.transform(network, given)


@pytest.mark.slow
def test_killed_while_it_learns_and_two_processes(run: Path, tmp_path: Path) -> None:
    first = digests(run)[0]
    command = ("checkpoint=trained", f"architecture=trained:{first}", *LEARNING, *QUIET)
    run_here("transform", *command, "run_dir=whole", folder=tmp_path).succeeded()
    process = start("transform", *command, "run_dir=killed", folder=tmp_path, output="killed")
    assert kill_when(process, lambda: lines_of(tmp_path / "killed") > 8, signal.SIGKILL) == -9
    assert end(start("transform", "resume=killed", folder=tmp_path, output="again")) == 0
    two = ("trainer.devices=2", "trainer.strategy=ddp", "run_dir=two")
    run_module("vitsearch.transform", *command, *two, folder=tmp_path).succeeded()
    for name in ("search/history.jsonl", "search/transformed.json", "policy/policy.safetensors"):
        expected = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "killed" / name).read_bytes() == expected, name
        assert (tmp_path / "two" / name).read_bytes() == expected, name
