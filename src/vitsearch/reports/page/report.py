"""`report.html` of one run, or of several side by side, and its pictures as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitsearch.reports.facts.run_record import read_run
from vitsearch.reports.page.comparison import comparison_page
from vitsearch.reports.page.page import Page, render
from vitsearch.reports.page.sections import run_page
from vitsearch.reports.pictures import style
from vitsearch.runs.files import atomic_folder, write_text
from vitsearch.runs.layout import PICTURES_FOLDER, REPORT_FILE
from vitsearch.runs.versions import installed_version


def write_report(runs: Sequence[Path], folder: Path) -> Path:
    """Read runs, write `report.html` and `report/*.png`.

    Args:
        runs: Folders of one run, or of several that are shown side by side.
        folder: Where to write.

    Returns:
        The page.

    Raises:
        ConfigError: One is no run folder.
        HistoryError: One has a damaged file.
    """
    records = [read_run(run, name) for run, name in zip(runs, names_of(runs), strict=True)]
    page = run_page(records[0]) if len(records) == 1 else comparison_page(records, folder)
    return write_page(page, folder)


def write_page(page: Page, folder: Path) -> Path:
    """Draw the pictures of a page, write it and them."""
    drawings = {}
    with style.drawing(), atomic_folder(folder / PICTURES_FOLDER) as temporary:
        for picture in page.pictures:
            figure = picture.draw()
            style.save_png(figure, temporary / f"{picture.name}.png")
            drawings[picture.name] = style.to_svg(figure, picture.label)
    file = folder / REPORT_FILE
    write_text(file, render(page, drawings, installed_version("vitsearch") or "(sources)"))
    return file


def names_of(runs: Sequence[Path]) -> list[str]:
    """The shortest ends of their paths that tell the runs apart."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in runs]
