"""Several runs side by side: a row each, their curves in one picture, the settings that differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vitsearch.costs import human
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.page.page import Link, Page, Part, Section, Table, Text
from vitsearch.reports.page.sections import cost_text, run_title
from vitsearch.reports.page.time_section import duration, total_seconds
from vitsearch.reports.pictures.architecture import architecture_picture
from vitsearch.reports.pictures.together import accuracy_picture, best_picture
from vitsearch.runs.layout import REPORT_FILE
from vitsearch.runs.resume import leaves

_MOST = 40
# Where a run lies, and what is written out again wherever it is used.
_OF_A_PLACE = ("command", "run_dir", "resume", "checkpoint", "default_root_dir", "save_dir")


def comparison_page(records: Sequence[RunRecord], folder: Path) -> Page:
    """The page of several runs, to be written into a folder."""
    searched = [record for record in records if record.best is not None]
    sections = [_table(records)]
    for picture in (best_picture(searched), accuracy_picture(searched)):
        if picture is not None:
            sections.append(Section(title=picture.title, parts=[picture]))
    sections.append(_settings(records))
    sections += [_run(number, record, folder) for number, record in enumerate(records, 1)]
    return Page(title=f"{len(records)} runs side by side", lead=_lead(searched), sections=sections)


def _lead(records: Sequence[RunRecord]) -> str:
    if not records:
        return "None of them has searched."
    first, *others = sorted(records, key=lambda r: -(r.best.score if r.best else 0))
    assert first.best is not None
    figure = first.figure
    text = f"The best {figure.noun} is that of {first.name}: {figure.text(first.best.score)}."
    error = figure.standard_error(first.best.score, first.best.total)
    images = {record.num_images for record in records}
    if len(images) > 1 or len({str(record.config.get("data")) for record in records}) > 1:
        text += " The runs differ in their data, so accuracies are not comparable."
    elif others and error is not None:
        text += (
            f" All are scored on {first.num_images:,} images; one {figure.noun} has a standard "
            f"error of {100 * error:.1f} points."
        )
    return text


def _table(records: Sequence[RunRecord]) -> Section:
    rows = []
    for record in records:
        best, seconds = record.best, total_seconds(record)
        tested = (record.networks.get("best") or {}).get(f"test_{record.figure.name}")
        rows.append(
            (
                record.name,
                "-" if best is None else record.figure.text(best.score),
                "-" if tested is None else record.figure.text(tested),
                "-" if best is None else human(best.costs["macs"]),
                f"{len(record.trials):,}",
                duration(seconds, short=True) if seconds else "-",
            )
        )
    label = records[0].figure.label
    headings = ("run", label, "test", "MACs", "tried", "time")
    caption = (
        f"The best architecture of each run: {label} on the search split and on the test split "
        f"with weights of the supernet, costs, candidates tried, time of training and search."
    )
    table = Table(headings=headings, rows=rows, caption=caption)
    return Section(title="The runs", parts=[table], wide=True)


def _settings(records: Sequence[RunRecord]) -> Section:
    title = "Settings that differ"
    differing = differing_settings([record.config for record in records])
    if not differing:
        text = "None: these runs differ in nothing that config.yaml holds."
        return Section(title=title, parts=[Text(text=text)], wide=True)
    shown = list(differing.items())[:_MOST]
    hidden = len(differing) - len(shown)
    table = Table(
        headings=("setting", *(record.name for record in records)),
        rows=[(name, *map(_shown, values)) for name, values in shown],
        words=1 + len(records),
        caption=f"And {hidden} more." if hidden else "",
    )
    return Section(title=title, parts=[table], wide=True)


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The values of each setting that is not the same in all configurations; `None` if not set.

    Settings of a place are left out, and those that repeat another one. Of different spaces only
    the name is given.
    """
    flat = [dict(leaves(config)) for config in configs]
    names = list(dict.fromkeys(name for config in flat for name in config))
    found = {}
    for name in names:
        values = tuple(config.get(name) for config in flat)
        is_place = any(part in _OF_A_PLACE for part in name.split("."))
        if not is_place and any(value != values[0] for value in values):
            found[name] = values
    if "space.name" in found:
        found = {n: v for n, v in found.items() if not n.startswith("space.") or n == "space.name"}
    return {name: values for name, values in found.items() if not _repeats(name, values, found)}


def _repeats(name: str, values: tuple[Any, ...], found: Mapping[str, tuple[Any, ...]]) -> bool:
    """Whether another setting, whose name is the end of this one's, has the same values."""
    parts = name.split(".")
    ends = (".".join(parts[start:]) for start in range(1, len(parts) - 1))
    return any(found.get(end) == values for end in ends)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _run(number: int, record: RunRecord, folder: Path) -> Section:
    """The best architecture of one run, and the way to its own report."""
    parts: list[Part] = []
    picture = architecture_picture(record, name=f"architecture_{number}")
    if picture is not None:
        parts.append(picture)
    if record.best is not None:
        words = (
            f"{record.best.digest}: {record.figure.text(record.best.score)} at "
            f"{cost_text(record.best, 'macs')}"
        )
        parts.insert(0, Text(text=f"{run_title(record)}, best {words} MACs."))
    else:
        parts.append(Text(text=f"{run_title(record)}, without a search."))
    own = record.folder / REPORT_FILE
    if own.is_file():
        path = Path(os.path.relpath(own.resolve(), folder.resolve()))
        parts.append(Link(text="Its own report", href=quote(path.as_posix())))
    return Section(title=record.name, parts=parts)
