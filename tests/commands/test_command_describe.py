"""`vitsearch.describe`: what can be searched; it writes nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import vitsearch
from tests.commands.running import REPOSITORY, Outcome, run_here, run_module, run_program
from vitsearch import build_space, list_spaces
from vitsearch.costs import human, reachable_range

PACKAGE = Path(vitsearch.__file__).parent


def described(*overrides: str, folder: Path) -> Outcome:
    """Run it in an empty folder; it stays one."""
    outcome = run_here("describe", *overrides, folder=folder).succeeded()
    assert outcome.err == ""
    assert list(folder.iterdir()) == []
    return outcome


def test_list(tmp_path: Path) -> None:
    table = described(folder=tmp_path).out
    assert all(name in table for name in list_spaces())
    assert "10^9.3" in table
    facts = json.loads(described("format=json", folder=tmp_path).out)
    assert {space["name"] for space in facts["spaces"]} == set(list_spaces())


@pytest.mark.parametrize("name", list_spaces())
def test_one_space(name: str, tmp_path: Path) -> None:
    space = build_space(name)
    facts = json.loads(described(f"+space={name}", "format=json", folder=tmp_path).out)
    assert [choice["name"] for choice in facts["choices"]] == [c.name for c in space.choices]
    assert facts["config"] == space.config
    assert facts["size"] == space.size()
    assert (facts["num_classes"], facts["num_samples"], facts["seed"]) == (1000, 1000, 0)
    table = described(f"+space={name}", folder=tmp_path).out
    for metric in ("macs", "params"):
        low, high = reachable_range(space, metric, 1000)
        assert [facts["costs"][metric][end] for end in ("smallest", "largest")] == [low, high]
        assert f"{human(low)} to {human(high)}, mean" in table


def test_overrides(tmp_path: Path) -> None:
    overrides = ("+space=glit", "space.num_blocks=2", "space/mlp=mlp", "space.mlp.ratios=[1,3]")
    more = ("num_classes=7", "num_samples=5", "seed=2", "format=json")
    facts = json.loads(described(*overrides, *more, folder=tmp_path).out)
    space = build_space("glit", num_blocks=2, mlp="mlp", **{"mlp.ratios": [1, 3]})
    assert facts["config"] == space.config
    assert facts["num_samples"] == 5
    assert facts["costs"]["params"]["largest"] == reachable_range(space, "params", 7)[1]
    table = described(*overrides, folder=tmp_path).out
    assert table.count("stages.0.blocks.0-1.mlp_ratio") == 1
    assert "1, 3" in table
    assert "48 (fixed)" in table


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("format=xml",), ("format=xml", "table, json")),
        (("num_samples=0",), ("num_samples=0", "whole number, 1 or more")),
        (("num_samples=2.5",), ("num_samples=2.5", "whole number")),
        (("num_samples=true",), ("num_samples=True", "whole number")),
        (("num_classes=-1",), ("num_classes=-1", "0 or more")),
        (("seed=-1",), ("seed=-1",)),
        (("num_sample=3",), ("num_sample=3", "did you mean num_samples?")),
        (("+space=glit_tny",), ("glit_tny", "did you mean glit_tiny?")),
        (("space=glit",), ("+space=<name>",)),
        (("space.num_blocks=2",), ("space.num_blocks",)),
        (("+space=glit", "space.num_blocks=0"), ("space.num_blocks=0", "1 or more")),
        (("--multirun", "+space=glit,glit_tiny"), ("--multirun", "one space")),
        (("-m", "+space=glit,glit_tiny"), ("--multirun", "one space")),
    ],
)
def test_user_mistakes(overrides: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    outcome = run_here("describe", *overrides, folder=folder)
    assert outcome.code == 2
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("vitsearch: ")
    assert all(word in line for word in words), line
    assert list(folder.iterdir()) == []  # the folder of the user is still there, and empty


def test_a_run_in_an_empty_folder_does_not_remove_it(tmp_path: Path) -> None:
    for run_dir in (".", ".."):
        folder = tmp_path / "above" / "empty"
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run_here("train", "+space=nope", f"run_dir={run_dir}", folder=folder)
        assert outcome.code == 2
        outcome = run_here("train", f"run_dir={run_dir}", folder=folder)
        assert outcome.code == 2
        assert list(folder.iterdir()) == []


def test_spaces_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "more-1.0.dist-info").mkdir(parents=True)
    (site / "more-1.0.dist-info" / "METADATA").write_text("Name: more\nVersion: 1.0\n")
    (site / "more-1.0.dist-info" / "entry_points.txt").write_text(
        "[vitsearch.spaces]\nglit_mine = more_spaces:mine\nbroken = more_spaces:broken\n"
    )
    (site / "more_spaces.py").write_text(
        "import vitsearch\n"
        "def mine(): return vitsearch.build_space('glit', num_blocks=1)\n"
        "def broken(): raise RuntimeError('no luck')\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "more_spaces", raising=False)
    outcome = described("format=json", folder=tmp_path / "work")
    spaces = {space["name"]: space for space in json.loads(outcome.out)["spaces"]}
    assert set(spaces) == set(list_spaces())
    assert spaces["glit_mine"]["family"] == "glit"
    assert spaces["glit_mine"]["size"] == 36
    assert "more_spaces:mine" in spaces["glit_mine"]["description"]
    assert spaces["broken"]["size"] is None
    assert "no luck" in spaces["broken"]["error"]
    assert "no luck" in described(folder=tmp_path / "work").out
    facts = json.loads(described("+space=glit_mine", "format=json", folder=tmp_path / "work").out)
    assert facts["size"] == 36


def test_it_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, types\n"
        "for name in ('torch', 'torchvision', 'timm', 'pytorch_lightning', 'lightning_fabric'):\n"
        "    sys.modules[name] = None\n"
        "sys.modules['vitsearch'] = package = types.ModuleType('vitsearch')\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        "from vitsearch.describe import main\n"
        "main()\n"
    )
    for overrides in ((), ("+space=glit", "num_samples=2")):
        printed = run_program([sys.executable, "-c", script, *overrides], tmp_path)
        assert "10^9.3" in printed


@pytest.mark.slow
def test_a_process_of_its_own(tmp_path: Path) -> None:
    outcome = run_module("vitsearch.describe", "+space=glit", "format=json", folder=tmp_path)
    assert json.loads(outcome.succeeded().out)["size"] == 36**6
    assert outcome.err == ""
    outcome = run_module("vitsearch.describe", "format=yaml", folder=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_the_readme_shows_what_it_prints(tmp_path: Path) -> None:
    readme = [line.strip() for line in (REPOSITORY / "README.md").read_text().splitlines()]
    printed = described("+space=glit", folder=tmp_path).out.splitlines()
    for line in printed:
        assert line.strip() in readme, line


OWN_SPACE = """
defaults:
  - stem: conv
  - transition: reduction
  - mixer: relative_attention
  - mlp: mlp
  - head: avg
name: mine
image_size: 32
patch_sizes: [4]
num_stages: 2
num_blocks: 2
embed_dims: [[24], [36, 48]]
"""


def test_a_space_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    file = tmp_path / "spaces" / "mine.yaml"
    file.write_text(OWN_SPACE, encoding="utf-8")
    for name in (str(file), "spaces/mine.yaml", "./spaces/mine.yaml"):
        outcome = run_here(
            "describe", f"+space={name}", "format=json", "space.num_blocks=1", folder=tmp_path
        )
        facts = json.loads(outcome.succeeded().out)
        assert facts["name"] == "mine"
        assert facts["size"] == 2 * 3 * 3
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.yaml", "spaces"]
