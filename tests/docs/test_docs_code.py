"""The Python sessions of the documentation say what Python says; other Python in it is Python."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from docs.outputs import ROOT, markdown_files

_FENCED = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [path for path in markdown_files() if ">>> " in path.read_text(encoding="utf-8")]


def sessions(path: Path) -> doctest.DocTest:
    """All sessions of a page, one after the other."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = ["" if line.startswith("```") else line for line in lines]
    name = str(path.relative_to(ROOT))
    return doctest.DocTestParser().get_doctest("\n".join(lines), {}, name, name, 0)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sessions(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    doctest.DocTestRunner().run(sessions(path), out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_other_python_compiles(path: Path) -> None:
    for block in _FENCED.findall(path.read_text(encoding="utf-8")):
        if not block.startswith((">>> ", "--8<-- ")):
            compile(block, str(path), "exec")
