"""What an audit has found about a run's scores, as a section of its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitsearch.reports.page.page import Image, Part, Section, Table, Text
from vitsearch.reports.words.audit import (
    ABOUT_GIVEN_MACS,
    alarm,
    given_macs,
    has_given_macs,
    interval,
    ranking_rows,
    verdict,
)
from vitsearch.reports.words.figure import capital, figure_of
from vitsearch.runs.layout import AUDIT_FILE

_NAMES = {"supernet": "the supernet's score", "macs": "MACs", "params": "parameters"}
_PICTURES = {
    "agreement.png": "{What} when trained alone, against inherited {what} and against MACs.",
    "searches.png": "The best found so far by evolution and by random search.",
}


def audit_section(facts: Mapping[str, Any], folder: Path) -> Section:
    """The verdict, the correlations, and the pictures that the audit has left."""
    title = "How far the scores can be trusted"
    known, what = dict(facts), figure_of(facts).noun
    try:
        parts: list[Part] = [Text(text=f"{verdict(known)}.")]
        warning = alarm(known)
        if warning is not None:
            parts.append(Text(text=warning, alarming=True))
        partial = has_given_macs(facts["agreement"])
        rows = [
            (shown, interval(row["kendall_tau_b"]), *([given_macs(row)] if partial else []))
            for shown, row in ranking_rows(facts["agreement"], _NAMES)
        ]
        caption = (
            f"{facts['num_architectures']} architectures, each trained from scratch; 95 % "
            f"intervals{f'; {ABOUT_GIVEN_MACS}' if partial else ''}."
        )
    except (KeyError, TypeError):  # of another version
        text = f"{AUDIT_FILE.as_posix()} is of another version of vitsearch."
        return Section(title=title, parts=[Text(text=text)])
    headings = [
        "ranked by",
        f"Kendall's tau with {what} alone",
        *(["given MACs"] if partial else []),
    ]
    parts.append(Table(headings=headings, rows=rows, caption=caption))
    for name, label in _PICTURES.items():
        file = folder / AUDIT_FILE.parent / name
        if file.is_file():
            parts.append(Image.of(file, label.format(What=capital(what), what=what)))
    return Section(title=title, parts=parts, wide=True)
