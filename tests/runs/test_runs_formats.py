"""Every file says its format; a newer one is refused by its number, none at all is the first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitsearch.errors import CheckpointError, ConfigError, FormatError, HistoryError
from vitsearch.runs.formats import FORMAT, read_json, with_format, without_format
from vitsearch.runs.resume import read_config


def test_the_number_comes_first_and_goes_again() -> None:
    stamped = with_format({"a": 1, "b": [2]})
    assert list(stamped) == ["format", "a", "b"]
    assert stamped["format"] == FORMAT == 1
    assert without_format(stamped, "x") == {"a": 1, "b": [2]} == without_format(stamped, "x")


def test_a_file_without_a_number_is_of_the_first_format() -> None:
    assert without_format({"a": 1}, "x") == {"a": 1}


@pytest.mark.parametrize("number", [2, 10**9])
def test_a_newer_format_is_refused_in_one_line(number: int, tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text(json.dumps({"format": number}))
    with pytest.raises(FormatError) as caught:
        read_json(file, HistoryError)
    line = str(caught.value)
    assert "\n" not in line
    for words in (str(file), f"format {number}", "this version of vitsearch reads format 1"):
        assert words in line


@pytest.mark.parametrize("number", ["1", 1.0, True, 0, -1, None, [1]], ids=repr)
def test_a_number_that_is_none_is_refused(number: object) -> None:
    with pytest.raises(FormatError, match=r"best\.json has format .*, which must be a whole"):
        without_format({"format": number}, "best.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"\xff\xfe\0", "is damaged"),
        (b"[]", "it is no JSON object"),
        (b'"format"', "it is no JSON object"),
        (b"[" * 100_000, "is damaged"),
    ],
    ids=["empty", "torn", "binary", "list", "text", "deep"],
)
def test_what_is_no_object_is_damaged(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_json(file, CheckpointError)
    assert "\n" not in str(caught.value)
    with pytest.raises(HistoryError, match="No such file"):
        read_json(tmp_path / "nowhere", HistoryError)


def test_the_configuration_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for first in ("", "format: 1\n"):
        file.write_text(f"# python -m vitsearch.train\n{first}run_dir: {tmp_path}\nseed: 3\n")
        found = read_config(tmp_path)
        assert found == {"run_dir": str(tmp_path), "seed": 3, "command": "search"}
    file.write_text(f"format: 2\nrun_dir: {tmp_path}\n")
    with pytest.raises(FormatError, match=r"config\.yaml has format 2"):
        read_config(tmp_path)
    file.write_text("- 1\n")
    with pytest.raises(ConfigError, match="no configuration of a run"):
        read_config(tmp_path)
