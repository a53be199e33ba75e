"""The pages are what commands print, link to what there is, and load nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.outputs import ROOT, blocks_of, difference, markdown_files, run_here

BLOCKS = [block for path in markdown_files() for block in blocks_of(path)]


@pytest.mark.slow
def test_short_commands_print_what_the_pages_say() -> None:
    stale = [
        line
        for block in BLOCKS
        if block.kind != "recorded"
        for text in [run_here(block.command)]
        if text != block.text
        for line in difference(block, text)
    ]
    assert not stale, "\n".join([*stale, "make docs writes them"])


def test_no_block_is_empty() -> None:
    assert len(BLOCKS) > 25
    assert [block.where for block in BLOCKS if not block.text] == []


def test_every_extra_is_on_the_page() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for extra in re.findall(r"^(\w+) = \[", section, re.MULTILINE):
        assert f"vitsearch[{extra}]" in page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; every warning is an error."""
    pytest.importorskip("material", reason="pip install 'vitsearch[docs]'")
    pytest.importorskip("mkdocstrings", reason="pip install 'vitsearch[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*src=\"?(https?:[^\" >]+)", html)
        loaded += re.findall(r"<link[^>]*rel=\"?stylesheet[^>]*href=\"?(https?:[^\" >]+)", html)
        assert loaded == [], page
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_pages_hold_what_was_included(site: Path) -> None:
    extend = (site / "extend.html").read_text(encoding="utf-8")
    for name in ("ElasticGatedMlp", "HillClimbing", "ConfidencePenalty", "LogMacs", "two_stages"):
        assert name in extend
    api = (site / "api" / "networks.html").read_text(encoding="utf-8")
    assert "SuperTransformer" in api
    assert "--8&lt;--" not in "".join(p.read_text(encoding="utf-8") for p in site.rglob("*.html"))
