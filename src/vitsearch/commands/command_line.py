"""The command line, read once by Hydra's own parser; paths mean what was typed.

Hydra's grammar gives `=`, `,`, `~`, `#`, brackets and quotes a meaning, which they do not have in
the name of a folder. So a path that the grammar refuses, or reads as something else, is quoted; and
a `~` in front, which shells leave alone behind `data.root=`, is the home directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from vitsearch.errors import ConfigError
from vitsearch.runs.command_line import override

# Settings that hold a path, by the last part of their name.
_PATHS = (
    "architecture",
    "checkpoint",
    "checkpoint_path",
    "dir",
    "dirpath",
    "optuna",
    "path",
    "resume",
    "root",
    "run",
    "run_dir",
    "save_dir",
)
_LISTS = ("architecture", "run", "searchpath")  # those that may be several
_OVERRIDE = re.compile(r"(?P<name>\+{0,2}[\w./@-]+)=(?P<value>.*)", re.DOTALL)


def read_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command in Hydra's grammar.

    Args:
        arguments: As the shell hands them over.

    Raises:
        ConfigError: A part of the space goes with several spaces.
    """
    sweeps = is_sweep(arguments)
    read = [_in_grammar(argument, sweeps=sweeps) for argument in arguments]
    return _for_any_space(read) if sweeps and any(map(_is_swept_space, read)) else read


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether Hydra would start one run for each combination of values."""
    return any(argument == "-m" or argument.startswith("--m") for argument in arguments)


def value_of(name: str, arguments: Sequence[str]) -> Any:
    """What the command line sets a setting or group to; `None` if it does not, or to null.

    Args:
        name: Of the setting, without a plus.
        arguments: In Hydra's grammar.
    """
    found = [parsed for parsed in map(parse_override, arguments) if parsed is not None]
    values = [one.value() for one in found if one.key_or_group == name]
    return values[-1] if values else None


def options_of(group: str, arguments: Sequence[str]) -> set[str]:
    """The options of a group that the command line names, several in a sweep."""
    found: set[str] = set()
    for parsed in map(parse_override, arguments):
        if parsed is None or parsed.key_or_group != group:
            continue
        value = parsed.value()
        several = value.list if isinstance(value, ChoiceSweep) else [value]
        found |= {one.text if isinstance(one, QuotedString) else str(one) for one in several}
    return found


def parse_override(argument: str) -> Override | None:
    """An override by Hydra's parser; `None` for what is none, or is not in its grammar."""
    if argument.startswith("-") or "=" not in argument:
        return None
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _in_grammar(argument: str, *, sweeps: bool) -> str:
    """One argument; a path in it is what was typed."""
    match = _OVERRIDE.fullmatch(argument)
    if match is None or argument.startswith("-"):
        return argument
    name, typed = match["name"], match["value"]
    last = re.split(r"[./+]", name)[-1]
    parsed = parse_override(argument)
    value = None if parsed is None else parsed.value()
    if last in _LISTS and typed.startswith("[") and typed.endswith("]"):
        paths = value if isinstance(value, list) else _paths_of(typed)
        return override(name, [_at_home(str(path)) for path in paths])
    if parsed is None:
        is_path = last in _PATHS or _looks_like_path(typed)
        if len(typed) > 1 and typed[0] == typed[-1] == '"':  # Lightning puts a path between them
            typed = typed[1:-1]
    elif parsed.is_sweep_override():
        is_path = last in _PATHS and not sweeps
    elif isinstance(value, str) and not (last in _PATHS and _is_call(typed)):
        at_home = value == "~" or value.startswith("~" if last in _PATHS else "~/")
        return override(name, _at_home(value)) if at_home else argument
    else:
        is_path = last in _PATHS and value is not None
    return override(name, _at_home(typed)) if is_path else argument


def _paths_of(typed: str) -> list[str]:
    """The paths of a list that Hydra cannot read."""
    found = []
    for one in typed[1:-1].split(","):
        parsed = parse_override(f"path={one.strip()}")
        value = None if parsed is None else parsed.value()
        found.append(value if isinstance(value, str) else one.strip())
    return found


def _is_call(typed: str) -> bool:
    """Whether Hydra has read a function, such as `str(3)`."""
    return "(" in typed and "${" not in typed and not typed.startswith(('"', "'"))


def _looks_like_path(typed: str) -> bool:
    """Whether a value is a path, if Hydra cannot read it; no list, mapping or quoted text."""
    if typed.startswith(('"', "'", "[", "{")):
        return False
    return "/" in typed or typed.startswith("~") or typed.endswith((".yaml", ".yml"))


def _at_home(path: str) -> str:
    """A path with the home directory in place of `~`, as a shell would expand it."""
    found = os.path.expanduser(path)
    return f"./{found}" if found.startswith("~") else found  # nobody's home: the name of a file


def _for_any_space(arguments: list[str]) -> list[str]:
    """Settings of the space with `++`: Hydra looks them up before a job has its space."""
    for argument in arguments:
        if argument.lstrip("+").startswith("space/"):
            raise ConfigError(
                f"{argument} is a part of one space, but +space= names several; sweep one space "
                f"at a time"
            )
    return [f"++{text.lstrip('+')}" if _of_space(text) else text for text in arguments]


def _of_space(argument: str) -> bool:
    return argument.lstrip("+").startswith("space.")


def _is_swept_space(argument: str) -> bool:
    parsed = parse_override(argument)
    return parsed is not None and parsed.key_or_group == "space" and parsed.is_sweep_override()
