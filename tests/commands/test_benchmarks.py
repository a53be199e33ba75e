"""The benchmarks that search and train: tiny ones run, and go on where they stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import fronts

from tests.commands.running import Outcome, files_below


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
