"""The format number of files: every JSON and YAML file that is written begins with `"format": 1`.

A file that a newer version has written in another format is refused by its number instead of being
read wrongly. Files without a number are older than numbers, and of format 1. Two kinds of file
carry none of their own: `search/history.jsonl`, whose lines are compared to the letter, stands
beside `search/settings.json`, which speaks for both; tables (`metrics.csv`, `predictions.csv`) and
weights stand beside a file that has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitsearch.errors import FormatError, VitSearchError
from vitsearch.errors.checks import is_whole

FORMAT = 1
KEY = "format"


def with_format(content: Mapping[str, Any]) -> dict[str, Any]:
    """What to write: the content behind its format number."""
    return {KEY: FORMAT, **content}


def without_format(content: Mapping[str, Any], source: Path | str) -> dict[str, Any]:
    """What was read, without its format number.

    Args:
        content: As it was read.
        source: The file, for the message.

    Raises:
        FormatError: A newer version has written it, or its number is none.
    """
    number = content.get(KEY, FORMAT)
    if not is_whole(number) or number < 1:
        raise FormatError(f"{source} has format {number!r}, which must be a whole number from 1")
    if number > FORMAT:
        raise FormatError(
            f"{source} has format {number}; this version of vitsearch reads format {FORMAT}: "
            f"install a newer one"
        )
    return {name: value for name, value in content.items() if name != KEY}


def read_json(file: Path, error: type[VitSearchError]) -> dict[str, Any]:
    """A JSON object without its format number.

    Args:
        file: What to read.
        error: What to raise where it is missing or damaged.

    Raises:
        FormatError: A newer version has written it.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as missing:
        raise error(f"{file} cannot be read: {missing.strerror or missing}") from missing
    except (ValueError, RecursionError) as damaged:
        raise error(f"{file} is damaged: {damaged or 'it is nested too deeply'}") from damaged
    if not isinstance(found, dict):
        raise error(f"{file} is damaged: it is no JSON object")
    return without_format(found, file)
