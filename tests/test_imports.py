"""Imports go one way; files stay small and say what they are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vitsearch

PACKAGE = Path(vitsearch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400

# What a folder may import of vitsearch besides itself.
LEGAL = {
    "spaces": {"errors"},
    "costs": {"errors", "spaces"},
    "samplers": {"errors", "spaces", "costs"},
    "searchers": {"errors", "spaces", "costs", "samplers"},
    "elastic": {"errors"},
    "supernet": {"errors", "files", "spaces", "elastic"},
    "exporting": {"errors", "files", "spaces", "elastic", "supernet"},
    "data": {"errors"},
    "reports": {"errors", "files", "spaces", "costs"},
    "lightning": {
        "errors",
        "files",
        "stopping",
        "spaces",
        "costs",
        "samplers",
        "searchers",
        "elastic",
        "supernet",
        "data",
        "reports",
    },
}
WITHOUT_TORCH = {"spaces", "costs", "samplers", "searchers"}
HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning", "lightning", "safetensors"}


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def folder_of(file: Path) -> str | None:
    """The folder of the package that a file lies in; `None` at the top."""
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def imported(file: Path) -> set[str]:
    """Dotted names of everything that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)} has a relative import"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def of_vitsearch(file: Path) -> set[str]:
    """The folders and top-level modules of vitsearch that a file imports."""
    own: set[str] = set()
    for name in imported(file):
        parts = name.split(".")
        if parts[0] == "vitsearch":
            own.add(parts[1] if len(parts) > 1 else "vitsearch itself")
    return own


def test_there_is_something_to_check():
    assert len(FILES) > 40
    assert {folder_of(file) for file in FILES} - {None} <= set(LEGAL)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_one_way(file):
    folder = folder_of(file)
    if folder is None:
        return
    beyond = of_vitsearch(file) - LEGAL[folder] - {folder}
    assert not beyond, f"{name_of(file)} imports {sorted(beyond)}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_pure_folders_import_no_torch(file):
    if folder_of(file) in WITHOUT_TORCH:
        assert not {name.split(".")[0] for name in imported(file)} & HEAVY


PURE = """
import random, sys, types
for name in ("torch", "torchvision", "timm", "pytorch_lightning", "hydra"):
    sys.modules[name] = None
sys.modules["vitsearch"] = package = types.ModuleType("vitsearch")
package.__path__ = [sys.argv[1]]
from vitsearch import costs, samplers, searchers, spaces
space = spaces.build_space("glit")
search = searchers.EvolutionSearcher(space, costs.Constraint(macs=(None, "10M")), population=3)
search.tell([len(c.architecture) for c in search.ask()])
samplers.UniformSampler().sample(space, num_architectures=2, step=0)
print(len(search.ask()))
"""


def test_pure_folders_work_without_torch():
    command = [sys.executable, "-c", PURE, str(PACKAGE)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    assert output.stdout.strip() == "50"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_hydra_stays_in_entry_points(file):
    if folder_of(file) is not None:
        assert "hydra" not in {name.split(".")[0] for name in imported(file)}


@pytest.mark.parametrize("name", ["errors.py", "files.py", "stopping.py"])
def test_the_ground_floor_imports_nothing(name):
    assert not of_vitsearch(PACKAGE / name)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_stay_small_and_say_what_they_are(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), f"{name_of(file)} has no docstring"
