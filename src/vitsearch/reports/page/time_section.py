"""What a run has cost in time, and where it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.page.page import Section, Table, Text
from vitsearch.reports.words.training import device_in_words

Start = Mapping[str, Any]


def time_section(record: RunRecord) -> Section:
    """Each part of the work: how long, how much of it, on what."""
    title = "Time spent"
    rows = []
    for name, part in _parts(record):
        done = _work(part)
        rows.append((name, _devices(part), duration(_seconds(part)), done))
    if not rows:
        text = "The run has noted no times: it has no timing.json."
        return Section(title=title, parts=[Text(text=text)])
    starts = max(len(part) for _, part in _parts(record))
    caption = (
        f"Interrupted runs add up: {starts} starts, each without what was lost with its end."
        if starts > 1
        else ""
    )
    headings = ("", "on", "time", "done")
    return Section(
        title=title, parts=[Table(headings=headings, rows=rows, words=2, caption=caption)]
    )


def total_seconds(record: RunRecord) -> float:
    """Of training and search, all starts and phases."""
    return sum(_seconds(part) for _, part in _parts(record))


def duration(seconds: float, *, short: bool = False) -> str:
    """A time as people say it: `44 s`, `3 min 2 s`, `5 h 20 min`; `short`: `3 min`, `5.3 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else f"{seconds:.1f} s"
    if short:
        return f"{whole / 60:.0f} min" if whole < 5400 else f"{whole / 3600:.1f} h"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _parts(record: RunRecord) -> list[tuple[str, Sequence[Start]]]:
    """Every part of the work of each phase, by name."""
    found = []
    for phase in (*record.phases, record):
        where = f" ({phase.name})" if record.phases and phase is not record else ""
        first = ("training", "preparation", "search")  # the rest follows in the order of its work
        for part in (*first, *(name for name in phase.timing if name not in first)):
            starts = phase.timing.get(part) or ()
            if starts:
                found.append((f"{part}{where}", starts))
    return found


def _seconds(starts: Sequence[Start]) -> float:
    return sum(float(start.get("seconds", 0)) for start in starts)


def _devices(starts: Sequence[Start]) -> str:
    named = [
        f"{start.get('processes', 1)} x "
        f"{device_in_words(start.get('device', '?'), start.get('threads'))}"
        for start in starts
    ]
    return "; ".join(dict.fromkeys(named))


def _work(starts: Sequence[Start]) -> str:
    """Steps or candidates, and how many a second."""
    for unit, first, last in (
        ("steps", "first_step", "last_step"),
        ("candidates", "first_candidate", "last_candidate"),
    ):
        known = [start for start in starts if first in start and last in start]
        if known:
            count = sum(start[last] - start[first] for start in known)
            seconds = _seconds(known)
            rate = f", {count / seconds:.1f}/s" if seconds > 0 else ""
            return f"{count:,} {unit}{rate}"
    return ""
