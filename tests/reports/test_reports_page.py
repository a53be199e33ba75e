"""`report.html` of one run and of several: what it says, and how it looks in a browser."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.every_space import COMPOSED, space_named
from tests.reports.browser import look, program, screenshot
from tests.reports.made_runs import make_run, small_space

from vitsearch.costs import Constraint
from vitsearch.reports.facts.run_record import read_run
from vitsearch.reports.page.audit_section import audit_section
from vitsearch.reports.page.comparison import differing_settings
from vitsearch.reports.page.page import Page, Section, render
from vitsearch.reports.page.report import names_of, write_report
from vitsearch.reports.page.sections import run_page
from vitsearch.reports.page.time_section import duration
from vitsearch.reports.pictures import style
from vitsearch.reports.pictures.architecture import architecture_picture
from vitsearch.searchers import EvolutionSearcher

PHONE, SCREEN = 390, 1200


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, to be looked at, not changed."""
    folder = tmp_path_factory.mktemp("page")
    config = {"data": {"_target_": "vitsearch.data.FashionMini"}, "searcher": {"population": 20}}
    run = make_run(folder / "run <a> & b", config=config)
    write_report([run], run)
    return run


@pytest.fixture(scope="module")
def both(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two runs."""
    folder = tmp_path_factory.mktemp("both")
    searcher = EvolutionSearcher(small_space(), Constraint(), population=5, generations=2, seed=2)
    other = make_run(folder / "other", searcher=searcher, config={"searcher": {"population": 5}})
    return write_report([run, other], folder / "together")


def test_it_is_one_file_and_pictures(run: Path) -> None:
    html = (run / "report.html").read_text()
    pictures = {path.name for path in (run / "report").iterdir()}
    names = {"progress", "accuracy_macs", "architecture", "options", "training"}
    assert pictures == {f"{name}.png" for name in names}
    for name in names:
        with Image.open(run / "report" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
            assert image.width >= 900
        assert pixels[:, 0].min() == 255  # nothing is cut at the edges
        assert pixels.std() > 5
    assert html.count("<svg") == len(names)
    assert not re.search(r"<(link|script|iframe)|src=|@import|url\((?!#)", html)
    assert not set(re.findall(r"#[0-9a-f]{6}", html[html.index("<main>") :]))
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_it_says_what_was_found(run: Path) -> None:
    html = (run / "report.html").read_text().replace("\u00a0", " ")
    best = json.loads((run / "search" / "best.json").read_text())
    for words in (
        "glit on FashionMini",
        best["digest"],
        f"{100 * best['top1']:.1f} %",
        "70.0 %",
        "2 min 50 s",
        "python 3.11, torch 2.14",
        "python -m vitsearch.train +space=glit",
        "run &lt;a&gt; &amp; b",
        "stages.0.blocks.1.global_heads",
        "400 images",
    ):
        assert words in html, words


def test_the_same_run_gives_the_same_page(run: Path, tmp_path: Path) -> None:
    again = write_report([run], tmp_path)
    assert again.read_bytes() == (run / "report.html").read_bytes()


def test_matplotlib_is_left_as_it_was(run: Path, tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style.drawing():
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


def test_runs_side_by_side(both: Path) -> None:
    html = both.read_text()
    assert "2 runs side by side" in html
    for name in ("run &lt;a&gt; &amp; b", "other"):
        assert html.count(f">{name}<") >= 2
    assert re.search(r"searcher\.population</td><td class=\"word\">20</td>.*>5</td>", html)
    assert "space.name" not in html
    assert "run_dir" not in html
    assert re.search(r'href="[^"]*/run%20%3Ca%3E%20%26%20b/report\.html">Its own report', html)
    pictures = {path.stem for path in both.with_name("report").iterdir()}
    assert pictures == {"progress", "accuracy_macs", "architecture_1", "architecture_2"}


def test_without_a_search_or_without_an_end(run: Path, tmp_path: Path) -> None:
    trained = make_run(tmp_path / "trained")
    for file in (trained / "search").iterdir():
        file.unlink()
    assert "trained without a search" in write_report([trained], trained).read_text()
    assert [path.name for path in (trained / "report").iterdir()] == ["training.png"]
    begun = tmp_path / "begun"
    (begun / "search").mkdir(parents=True)
    first = (run / "search" / "history.jsonl").read_text().splitlines(keepends=True)[:2]
    (begun / "search" / "history.jsonl").write_text("".join(first))
    html = write_report([begun], begun).read_text()
    assert "The search is not finished" in html
    assert "config.yaml holds every setting" in html
    assert {path.stem for path in (begun / "report").iterdir()} == {"progress", "accuracy_macs"}


def test_an_audit_is_shown(tmp_path: Path) -> None:
    tau = {"kendall_tau_b": {"value": 0.5, "low": 0.2, "high": 0.7}}
    unclear = {"value": 0.1, "low": -0.1, "high": 0.3}
    facts: dict[str, Any] = {
        "num_architectures": 24,
        "agreement": dict.fromkeys(("supernet", "macs", "params", "supernet_minus_macs"), tau),
        "size_and_accuracy": {"inherited": unclear, "alone": unclear},
        "ends": {"smallest": 0.5, "largest": 0.8},
    }
    (tmp_path / "audit").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "audit" / "agreement.png")
    page = Page(title="", lead="", sections=[audit_section(facts, tmp_path)])
    html = render(page, {}, "")
    assert "0.50 [0.20, 0.70]" in html
    assert "ranks these networks better than their MACs do" in html
    assert html.count("data:image/png;base64,") == 1
    page = Page(title="", lead="", sections=[audit_section({"agreement": {}}, tmp_path)])
    assert "of another version" in render(page, {}, "")


def test_phases_are_listed_and_linked(tmp_path: Path) -> None:
    few = {"population": 4, "generations": 1}
    run = make_run(tmp_path / "run", searcher=EvolutionSearcher(small_space(), Constraint(), **few))
    heads = run / "phases" / "heads"
    make_run(heads, searcher=EvolutionSearcher(small_space(), Constraint(), **few, seed=1))
    (heads / "report.html").touch()
    page = run_page(read_run(run))
    html = render(page, {picture.name: "" for picture in page.pictures}, "")
    assert '<a href="phases/heads/report.html">' in html
    assert "training (heads)" in html
    assert "7 min 9 s" in html  # of both


def test_settings_that_differ() -> None:
    one = {"a": 1, "searcher": {"seed": 0}, "callbacks": {"search": {"searcher": {"seed": 0}}}}
    two = {"a": 1, "searcher": {"seed": 1}, "callbacks": {"search": {"searcher": {"seed": 1}}}}
    two |= {"run_dir": "b", "logger": {"csv": {"save_dir": "b"}}, "halving": True}
    assert differing_settings([one, two]) == {"searcher.seed": (0, 1), "halving": (None, True)}
    spaces = [{"space": {"name": name, "num_blocks": n}} for name, n in (("a", 1), ("b", 2))]
    assert differing_settings(spaces) == {"space.name": ("a", "b")}
    assert differing_settings([one, one]) == {}


def test_names_and_times() -> None:
    assert names_of([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert names_of([Path("/x/1/a"), Path("/x/2/a")]) == ["1/a", "2/a"]
    times = [0.24, 59, 60, 3599, 3600, 100_000]
    shown = ["0.2 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "27 h 46 min"]
    assert [duration(seconds) for seconds in times] == shown
    assert [duration(seconds, short=True) for seconds in (44, 214, 7200)] == [
        "44 s",
        "4 min",
        "2.0 h",
    ]


@pytest.mark.parametrize("width", [PHONE, SCREEN])
def test_a_screenshot(width: int, run: Path, tmp_path: Path) -> None:
    program()
    screenshot(run / "report.html", tmp_path / "page.png", width, 1500)
    with Image.open(tmp_path / "page.png") as image:
        assert image.size == (width, 1500)
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 15
    assert (pixels != pixels[0, 0]).any(axis=1).mean() > 0.5  # most rows show something


def test_it_can_be_read_in_a_browser(run: Path, both: Path) -> None:
    program()
    for page, words in ((run / "report.html", "Make it again"), (both, "Settings that differ")):
        for width, found in look(page, PHONE, SCREEN).items():
            assert found["width"] == width, "the page scrolls sideways"
            assert (found["loaded"], found["scrolling"]) == ([], [])
            assert (found["cut"], found["overlapping"]) == ([], [])
            assert words in found["text"]
            assert "top-1, search split (%)" in found["text"] or page is both


def test_architectures_of_all_families_can_be_read(run: Path, tmp_path: Path) -> None:
    """No label is cut or lies on another one, from the demos to the papers' sizes."""
    program()
    record, rng = read_run(run), random.Random(0)
    assert record.best is not None
    sections, drawings = [], {}
    for name in ("glit", "glit_base", "vitas_small", "vit_resnas_small", "autoformer", *COMPOSED):
        space = space_named(name)
        best = replace(record.best, architecture=space.sample(rng))
        picture = architecture_picture(replace(record, space=space, best=best), name=name)
        assert picture is not None
        with style.drawing():
            drawings[name] = style.to_svg(picture.draw(), picture.label)
        sections.append(Section(title=name, parts=[picture]))
    page = tmp_path / "page.html"
    page.write_text(render(Page(title="", lead="", sections=sections), drawings, ""))
    for found in look(page, PHONE, SCREEN).values():
        assert (found["cut"], found["overlapping"]) == ([], [])
