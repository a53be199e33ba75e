"""Two processes shrink as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.lightning import two_processes_shrinking
from tests.lightning.two_processes_shrinking import WEIGHTS

SCRIPT = Path(two_processes_shrinking.__file__)


@pytest.mark.slow
def test_two_processes_shrink_as_one_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    command = [sys.executable, str(SCRIPT), str(two)]
    root = Path(__file__).parents[2]  # the script and its second process import from here
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run(command, check=True, timeout=300, capture_output=True, env=environment)
    two_processes_shrinking.main(one, 1)
    expected = torch.load(one / f"0_{WEIGHTS}")
    ranks = [torch.load(two / f"{rank}_{WEIGHTS}") for rank in range(2)]
    for name, tensor in expected.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        assert ranks[0][name].shape == tensor.shape, name
        assert (ranks[0][name] - tensor).abs().max() < 1e-10, name
    for file in ("search/shrinks.json", "search/history.jsonl", "search/best.json"):
        assert (two / file).read_bytes() == (one / file).read_bytes(), file
    assert (one / "search" / "shrinks.json").read_text().count('"step"') >= 2
