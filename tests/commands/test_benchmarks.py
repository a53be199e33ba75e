"""The benchmarks that search and train: tiny ones run, and go on where they stopped."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from benchmarks import fronts, training_rules

import vitsearch
from tests.commands.running import Outcome, files_below
from vitsearch.lightning.audit.log import TrainingLog
from vitsearch.lightning.search.fingerprint import weights_digest


def test_fronts(trained: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(trained.run), "--folder", str(tmp_path), "--seeds", "0", "1", "--repeats", "1"]
    before = files_below(trained.run)
    small = ["--population", "4", "--generations", "3"]
    fronts.main([*arguments, *small])
    printed = capsys.readouterr().out
    assert "NSGA-II - random" in printed
    assert "architectures scored" in printed
    first = json.loads((tmp_path / "fronts.json").read_text())
    assert [(one["seed"], one["searcher"]) for one in first["searches"]] == [
        (0, "NSGA-II"),
        (0, "random"),
        (1, "NSGA-II"),
        (1, "random"),
    ]
    for one in first["searches"]:
        volumes = list(one["hypervolume"].values())
        assert one["evaluations"] == 8
        assert 0 <= volumes[0] <= volumes[1] <= volumes[2] <= 1
        assert 1 <= len(one["front"]) <= 8
    for a, b in zip(first["searches"][::2], first["searches"][1::2], strict=True):
        half = str(4)  # the first generation is the same architectures
        assert a["hypervolume"][half] == b["hypervolume"][half]

    fronts.main([*arguments, *small])  # everything is known: the same numbers, nothing scored
    assert "architectures scored" not in capsys.readouterr().out
    assert json.loads((tmp_path / "fronts.json").read_text()) == first
    assert files_below(trained.run) == before


def test_training_rules(
    trained: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = vitsearch.load_supernet(trained.run)
    rng = random.Random(1)
    log = TrainingLog(tmp_path / "audit")
    for number in range(6):  # as an audit leaves them
        architecture = net.space.sample(rng)
        log.add(
            {
                "digest": architecture.digest,
                "seed": 0,
                "correct": number,
                "total": 10,
                "top1": number / 10,
                "macs": net.cost(architecture).macs,
                "architecture": architecture.to_dict(),
            }
        )
    arguments = [
        str(trained.run),
        *("--folder", str(tmp_path / "rules"), "--audit", str(tmp_path / "audit")),
        *("--drawn", "3"),
    ]
    training_rules.main([*arguments, "--rules", "single path", "sandwich"])
    first = json.loads((tmp_path / "rules" / "training_rules.json").read_text())
    assert [one["rule"] for one in first] == ["single path", "sandwich"]
    for one in first:
        assert 0 <= one["median"] <= 1
        assert -1 <= one["tau"]["low"] <= one["tau"]["value"] <= one["tau"]["high"] <= 1
        assert set(one["beyond_macs"]) == {"value", "low", "high"}
    capsys.readouterr()

    runs = {name: tmp_path / "rules" / f"{name}-0" for name in ("single_path", "sandwich")}
    digests = {n: weights_digest(vitsearch.load_supernet(run)) for n, run in runs.items()}
    assert digests["sandwich"] == weights_digest(net)  # the run's own rule: the run again
    assert digests["single_path"] != digests["sandwich"]
    assert len({len((run / "metrics.csv").read_text().splitlines()) for run in runs.values()}) == 1

    training_rules.main([*arguments, "--rules", "single path", "sandwich", "balanced"])
    printed = capsys.readouterr().out
    assert printed.count("run folder") == 1  # of the one that was missing
    assert "beyond MACs" in printed
    second = json.loads((tmp_path / "rules" / "training_rules.json").read_text())
    assert second[:2] == first
    assert len(second) == 3

    also = str(runs["single_path"])
    training_rules.main([*arguments, "--rules", "sandwich", "--also", also])
    assert "single_path-0" in capsys.readouterr().out
    own, other = json.loads((tmp_path / "rules" / "training_rules.json").read_text())
    assert own == first[1]
    assert other == first[0] | {"rule": "single_path-0"}
