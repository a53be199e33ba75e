"""Imports go one way; files stay small and say what they are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import vitsearch

PACKAGE = Path(vitsearch.__file__).parent
MAX_LINES = 400
MAX_FILES = 17

# What a room may import of vitsearch besides itself. Commands, at the top, may import everything.
LEGAL = {
    "errors": set(),
    "runs": {"errors"},
    "spaces": {"errors"},
    "costs": {"errors", "spaces"},
    "samplers": {"errors", "spaces", "costs"},
    "searchers": {"errors", "spaces", "costs", "samplers"},
    "transitions": {"errors", "spaces", "costs"},
    "elastic": {"errors"},
    "supernet": {"errors", "runs", "spaces", "elastic"},
    "shrinking": {
        "errors",
        "runs",
        "spaces",
        "costs",
        "samplers",
        "searchers",
        "elastic",
        "supernet",
    },
    "transforming": {
        "errors",
        "runs",
        "spaces",
        "costs",
        "searchers",
        "transitions",
        "elastic",
        "supernet",
        "shrinking",
    },
    "training_free": {"errors", "spaces", "costs", "elastic", "supernet"},
    "exporting": {"errors", "runs", "spaces", "elastic", "supernet"},
    "data": {"errors"},
    "pretrained": {"errors", "runs", "data"},
    "reports": {"errors", "runs", "spaces", "costs", "transitions"},
    "lightning": {
        "errors",
        "runs",
        "spaces",
        "costs",
        "samplers",
        "searchers",
        "transitions",
        "elastic",
        "supernet",
        "shrinking",
        "training_free",
        "data",
        "reports",
    },
}
WITHOUT_TORCH = {"runs", "spaces", "costs", "samplers", "searchers", "transitions"}
HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning", "lightning", "safetensors"}


def files() -> Iterator[tuple[Path, str]]:
    """Every file of the package, and the room that it stands in."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file, file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Dotted names of everything that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_of(names: set[str]) -> set[str]:
    """The rooms of vitsearch among imported names."""
    own = [name.split(".") for name in names if name.split(".")[0] == "vitsearch"]
    return {parts[1] if len(parts) > 1 else "vitsearch itself" for parts in own}


def test_imports_go_one_way():
    found = list(files())
    assert len(found) > 200
    upward = {
        str(file): beyond
        for file, room in found
        if room in LEGAL and (beyond := rooms_of(imported(file)) - LEGAL[room] - {room})
    }
    assert not upward


def test_hydra_is_imported_by_commands_only():
    tops = {lib: set() for lib in ("hydra", *HEAVY)}
    for file, room in files():
        for name in imported(file):
            tops.setdefault(name.split(".")[0], set()).add(room)
    assert not tops["hydra"] & set(LEGAL)
    assert not {room for lib in HEAVY for room in tops[lib]} & WITHOUT_TORCH


def test_files_are_small_and_say_what_they_are_and_folders_can_be_read():
    for file, _ in files():
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MAX_LINES, file
        assert ast.get_docstring(ast.parse(text)), f"{file} has no docstring"
    for folder in {file.parent for file, _ in files()}:
        assert len(list(folder.glob("*.py"))) <= MAX_FILES, folder


PURE = """
import random, sys, types
for name in ("torch", "torchvision", "timm", "pytorch_lightning", "hydra"):
    sys.modules[name] = None
sys.modules["vitsearch"] = package = types.ModuleType("vitsearch")
package.__path__ = [sys.argv[1]]
from vitsearch import costs, pretrained, samplers, searchers, spaces
space = spaces.build_space("glit")
search = searchers.EvolutionSearcher(space, costs.Constraint(macs=(None, "10M")), population=3)
search.tell([len(c.architecture) for c in search.ask()])
samplers.UniformSampler().sample(space, num_architectures=2, step=0)
print(len(search.ask()), *pretrained.list_pretrained())
"""


def test_pure_folders_work_without_torch():
    command = [sys.executable, "-c", PURE, str(PACKAGE)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    assert output.stdout.strip() == "50 vit_fashion"
