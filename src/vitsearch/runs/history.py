"""The lines of `search/history.jsonl`: one for each candidate, in the order of their scores.

All that reads a history reads it here: a search that goes on, reports, the look-up of a digest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitsearch.errors import HistoryError
from vitsearch.errors.checks import is_whole
from vitsearch.runs.formats import read_json
from vitsearch.runs.layout import HISTORY_FILE, SETTINGS_FILE

_ABSENT = "not set"
_NAMED = (
    "digest",
    "generation",
    "origin",
    "parents",
    "total",
    "architecture",
)
_ALWAYS = ("macs", "params")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreNames:
    """What the lines of a history call a score.

    Attributes:
        figures: What was compared, first, and other figures.
        counted: The whole numbers that they are made of.
    """

    figures: tuple[str, ...] = ("top1",)
    counted: tuple[str, ...] = ("correct",)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ScoreNames:
        """Those that a search's settings name; top-1 accuracy where they name none."""
        found = settings.get("score")
        return cls() if found is None else cls(**{n: tuple(found[n]) for n in _SCORE_NAMES})

    def to_dict(self) -> dict[str, Any]:
        """What settings say: nothing of top-1 accuracy."""
        return (
            {} if self == ScoreNames() else {"score": {n: getattr(self, n) for n in _SCORE_NAMES}}
        )


_SCORE_NAMES = ("figures", "counted")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One line.

    Attributes:
        digest: Of its architecture.
        generation: From 0.
        origin: See `vitsearch.searchers.Candidate`.
        parents: Digests.
        figures: By name; the first is the score.
        counts: Whole numbers that they are made of, by name, such as images answered correctly.
        total: Images that it was scored on.
        costs: By name: `macs`, `params` and what was measured.
        architecture: Its choices by name.
    """

    digest: str
    generation: int
    origin: str
    parents: tuple[str, ...]
    figures: Mapping[str, float]
    counts: Mapping[str, Any]
    total: int
    costs: Mapping[str, float]
    architecture: Mapping[str, Any]

    @property
    def score(self) -> float:
        """What the search compared."""
        return next(iter(self.figures.values()))


def parse_record(line: str | Mapping[str, Any], names: ScoreNames | None = None) -> HistoryRecord:
    """The candidate of a line.

    Args:
        line: As text, or as an object.
        names: What it calls its score; top-1 accuracy by default.

    Raises:
        HistoryError: It is none, or its figures contradict each other; one reason, without file.
    """
    try:
        found = json.loads(line) if isinstance(line, str) else line
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise HistoryError("is no candidate")
    names = names or ScoreNames()
    scores = (*names.figures, *names.counted)
    missing = [name for name in (*_NAMED, *scores, *_ALWAYS) if name not in found]
    if missing:
        raise HistoryError(f"is no candidate: it has no {missing[0]}")
    figures = {name: found[name] for name in names.figures}
    counts = {name: found[name] for name in names.counted}
    total, architecture = found["total"], found["architecture"]
    _check_score(figures, counts, total, names)
    if not isinstance(architecture, Mapping) or not isinstance(found["parents"], list):
        raise HistoryError("is no candidate: its architecture or its parents are malformed")
    if not _is_count(found["generation"]):
        raise HistoryError(f"has generation={found['generation']}, which is no count")
    costs = {name: value for name, value in found.items() if name not in (*_NAMED, *scores)}
    wrong = [name for name, value in costs.items() if not _is_number(value)]
    if wrong:
        raise HistoryError(f"has {wrong[0]}={costs[wrong[0]]!r}, which is no number")
    return HistoryRecord(
        digest=str(found["digest"]),
        generation=found["generation"],
        origin=str(found["origin"]),
        parents=tuple(map(str, found["parents"])),
        figures=figures,
        counts=counts,
        total=total,
        costs=costs,
        architecture=dict(architecture),
    )


def _check_score(
    figures: Mapping[str, Any], counts: Mapping[str, Any], total: Any, names: ScoreNames
) -> None:
    if names != ScoreNames():  # what figures its numbers give, the task alone knows
        wrong = [name for name, value in figures.items() if not _is_number(value)]
        wrong += [name for name, value in counts.items() if not _are_counts(value)]
        if wrong or not _is_count(total) or not total:
            raise HistoryError(f"has {', '.join(wrong) or 'total'}, which is no score")
        return
    top1, correct = figures["top1"], counts["correct"]
    if not (_is_count(correct) and _is_count(total) and 0 < total >= correct):
        raise HistoryError(f"has correct={correct} of total={total}, which is no score")
    if top1 != correct / total:
        raise HistoryError(f"has top1={top1}, which is not correct/total = {correct}/{total}")


def read_history(folder: Path) -> tuple[HistoryRecord, ...]:
    """All candidates of a run folder; none where there is no history.

    A last line without its end is what a kill has left of it, and is left out. Ends of lines may be
    those of Windows.

    Raises:
        FormatError: A newer version has written it.
        HistoryError: A line is damaged; the message names it.
    """
    file = folder / HISTORY_FILE
    if not file.is_file():
        return ()
    settings, names = folder / SETTINGS_FILE, ScoreNames()
    if settings.is_file():  # its format number is the history's, too
        with contextlib.suppress(HistoryError):  # damaged: who needs what it says, says so
            names = ScoreNames.of(read_json(settings, HistoryError))
    records = []
    for number, line in enumerate(whole_lines(file.read_bytes()), 1):
        try:
            records.append(parse_record(line, names))
        except HistoryError as error:
            raise HistoryError(f"{file} is damaged: line {number} {error}") from error
    return tuple(records)


def first_difference(found: HistoryRecord, proposed: HistoryRecord) -> str | None:
    """Where a line differs from the one that a search would write now, in words; `None`: nowhere.

    Args:
        found: What the history holds.
        proposed: The candidate that the search proposes now, with the score that was found.
    """
    if found == proposed:
        return None
    if found.digest != proposed.digest:
        return f"is candidate {found.digest}, where {proposed.digest} is proposed now"
    for name in sorted({*found.architecture, *proposed.architecture}):
        if name not in proposed.architecture:
            return f"has {name}, which is no choice of candidate {found.digest}"
        was, now = found.architecture.get(name, _ABSENT), proposed.architecture[name]
        if was != now:
            return f"has {name}={was}, which is {now} in candidate {found.digest}"
    old, new = (
        {"generation": one.generation, "origin": one.origin, "parents": list(one.parents)}
        | {"total": one.total, **one.costs, **one.counts, **one.figures}
        for one in (found, proposed)
    )
    name = next(name for name in {**old, **new} if old.get(name) != new.get(name))
    return (
        f"(candidate {found.digest}) has {name}={old.get(name, _ABSENT)}, where "
        f"{new.get(name, _ABSENT)} is expected"
    )


def whole_lines(content: bytes) -> list[str]:
    """The lines that have an end, without it."""
    text = content[: content.rfind(b"\n") + 1].decode("utf-8", errors="replace")
    return [line.removesuffix("\r") for line in text.split("\n")[:-1]]


def _is_count(value: object) -> bool:
    return is_whole(value) and value >= 0


def _are_counts(value: object) -> bool:
    return all(map(_are_counts, value)) if isinstance(value, list) else _is_count(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
