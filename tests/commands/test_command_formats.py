"""What a run writes: every file is on the one list of them, and says its format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from tests.commands.running import TINY_SEARCH, Outcome, files_below, run_here
from tests.commands.test_command_retrain import retrain
from vitsearch.runs import layout

SPEAKS_FOR = {"search/history.jsonl": "search/settings.json"}
ENTRIES = ("vitsearch", "vitsearch_network", "vitsearch_training")
MEASURED = ("searcher=nsga2", "searcher.minimise=[latency_ms]", "constraint.measure.repeats=2")


@pytest.fixture(scope="module")
def runs(trained: Outcome, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    search = (f"checkpoint={trained.run}", "use_test_split=false", *TINY_SEARCH, *MEASURED)
    run_here("search", *search, "run_dir=front", folder=folder).succeeded()
    retrain(trained.run, "run_dir=alone", folder=folder).succeeded()
    return {"train": trained.run, "search": folder / "front", "retrain": folder / "alone"}


def numbers(file: Path) -> Iterator[object]:
    """The format numbers of a file that carries one."""
    if file.suffix == ".json":
        found = json.loads(file.read_text())
        yield from (
            entry.get("format") for entry in (found if isinstance(found, list) else [found])
        )
    elif file.name == layout.CONFIG_FILE.name:
        yield yaml.safe_load(file.read_text()).get("format")
    elif file.suffix == ".ckpt":
        content = torch.load(file, weights_only=True)
        yield from (content[entry].get("format") for entry in ENTRIES if entry in content)


@pytest.mark.parametrize("command", ["train", "search", "retrain"])
def test_every_file_is_on_the_list_and_says_its_format(command: str, runs: dict[str, Path]) -> None:
    run = runs[command]
    written = {str(path) for path in layout.WRITTEN}
    for name in sorted(files_below(run)):
        parents = {str(parent) for parent in Path(name).parents}
        assert name in written or parents & written, name
        found = list(numbers(run / name))
        if Path(name).suffix in (".json", ".ckpt") or name == "config.yaml":
            assert found, name
        assert set(found) <= {1}, name
        if name in SPEAKS_FOR:
            assert set(numbers(run / SPEAKS_FOR[name])) == {1}


def test_a_newer_run_is_refused_by_its_number(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["train"], run)
    for name, command, override in (
        ("config.yaml", "train", f"resume={run}"),
        ("search/best.json", "retrain", f"architecture={run}"),
        ("search/settings.json", "report", f"run={run}"),
        ("best/architecture.json", "export", f"model={run}"),
    ):
        file = run / name
        before = file.read_text()
        file.write_text(
            before.replace("format: 1", "format: 2").replace('"format": 1', '"format": 2')
        )
        outcome = run_here(command, override, folder=tmp_path / "work")
        assert outcome.code == 2, outcome.out
        assert f"{name} has format 2; this version of vitsearch reads format 1" in outcome.err
        assert len(outcome.err.splitlines()) == 1
        file.write_text(before)
