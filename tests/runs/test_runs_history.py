"""The history is read by one parser; what contradicts itself is named, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitsearch.errors import FormatError, HistoryError
from vitsearch.runs.history import ScoreNames, first_difference, parse_record, read_history


def line(**changes: Any) -> dict[str, Any]:
    whole = {
        "digest": "abc",
        "generation": 1,
        "origin": "mutation",
        "parents": ["def"],
        "top1": 0.75,
        "correct": 3,
        "total": 4,
        "macs": 10,
        "params": 20,
        "latency_ms": 1.5,
        "architecture": {"depth": 2, "width": 8},
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def write(folder: Path, content: bytes) -> Path:
    file = folder / "search" / "history.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return folder


def test_a_line_is_read() -> None:
    record = parse_record(json.dumps(line()))
    assert record == parse_record(line())
    assert record.costs == {"macs": 10, "params": 20, "latency_ms": 1.5}
    assert (record.counts, record.total, record.score) == ({"correct": 3}, 4, 0.75)
    assert record.architecture == {"depth": 2, "width": 8}
    assert record.parents == ("def",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({name: ...}, f"it has no {name}") for name in line() if name != "latency_ms"),
        ({"correct": 2}, "top1=0.75, which is not correct/total = 2/4"),
        ({"top1": 0.5}, "top1=0.5, which is not correct/total = 3/4"),
        ({"correct": 5, "top1": 1.25}, "correct=5 of total=4"),
        ({"correct": -1}, "correct=-1"),
        ({"total": 0}, "total=0"),
        ({"correct": 3.0}, "correct=3.0"),
        ({"correct": True}, "correct=True"),
        ({"generation": "1"}, "generation=1"),
        ({"macs": "many"}, "macs='many', which is no number"),
        ({"architecture": [1]}, "malformed"),
        ({"parents": None}, "malformed"),
    ],
    ids=str,
)
def test_a_line_that_contradicts_itself_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HistoryError) as caught:
        parse_record(line(**changes))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "3", "null", "[" * 100_000], ids=lambda t: t[:3]
)
def test_what_is_no_line(text: str) -> None:
    with pytest.raises(HistoryError, match="is no candidate"):
        parse_record(text)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_is_read_whatever_its_ends_of_lines(end: str, tmp_path: Path) -> None:
    assert read_history(tmp_path) == ()
    text = "".join(json.dumps(line(digest=digest)) + end for digest in "abc")
    folder = write(tmp_path, (text + '{"digest": "torn').encode())
    assert [record.digest for record in read_history(folder)] == ["a", "b", "c"]
    write(tmp_path, f"{text}{end}".encode())
    with pytest.raises(HistoryError, match=r"history\.jsonl is damaged: line 4 is no candidate"):
        read_history(folder)


def test_the_settings_beside_it_carry_its_format(tmp_path: Path) -> None:
    folder = write(tmp_path, f"{json.dumps(line())}\n".encode())
    settings = folder / "search" / "settings.json"
    for text in ("{", "[]", '{"format": 1}', "{}"):
        settings.write_text(text)
        assert len(read_history(folder)) == 1
    settings.write_text('{"format": 2}')
    with pytest.raises(FormatError, match=r"settings\.json has format 2"):
        read_history(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "xyz"}, "is candidate xyz, where abc is proposed now"),
        ({"architecture": {"depth": 2}}, "has width=not set, which is 8 in candidate abc"),
        (
            {"architecture": {"depth": 2, "width": 8, "more": 1}},
            "has more, which is no choice of candidate abc",
        ),
        ({"architecture": {"depth": 3, "width": 8}}, "has depth=3, which is 2 in candidate abc"),
        ({"macs": 11}, "(candidate abc) has macs=11, where 10 is expected"),
        ({"latency_ms": ...}, "(candidate abc) has latency_ms=not set, where 1.5 is expected"),
        ({"parents": []}, "(candidate abc) has parents=[], where ['def'] is expected"),
    ],
    ids=str,
)
def test_a_difference_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    assert first_difference(parse_record(line(**changes)), parse_record(line())) == words
    assert first_difference(parse_record(line()), parse_record(line())) is None


def test_a_line_of_another_task_has_its_own_numbers() -> None:
    names = ScoreNames(figures=("miou",), counted=("both", "either"))
    assert ScoreNames.of(json.loads(json.dumps(names.to_dict()))) == names
    assert ScoreNames.of({}) == ScoreNames()
    assert ScoreNames().to_dict() == {}
    found = {name: value for name, value in line().items() if name not in ("top1", "correct")}
    scores = {"miou": 0.5, "both": [1, 2], "either": [2, 4]}
    record = parse_record({**found, **scores}, names)
    assert (record.score, record.counts) == (0.5, {"both": [1, 2], "either": [2, 4]})
    assert record.costs == parse_record(line()).costs
    for name, value in (("miou", "0.5"), ("both", [1, 2.0]), ("either", [-1, 4]), ("total", 0)):
        with pytest.raises(HistoryError, match=f"has {name}, which is no score"):
            parse_record({**found, **scores, name: value}, names)
    with pytest.raises(HistoryError, match="it has no miou"):
        parse_record(found, names)
