"""Names of choices, and patterns for them, as `space.restrict` takes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Value


def unknown_choice(name: str, space: str, names: Sequence[str]) -> str:
    """The message for a name that is no choice, with the nearest one."""
    close = get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"space {space} has no choice {name}{hint}"


def is_named(name: str, patterns: Iterable[str]) -> bool:
    """Whether some pattern matches a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def expand_patterns(
    limits: Mapping[str, Value | Sequence[Value]], names: Sequence[str], space: str
) -> dict[str, Sequence[Value]]:
    """Options by choice, from options by pattern; of several patterns, the last one counts.

    Raises:
        SpaceError: A pattern matches no name.
    """
    if not isinstance(limits, Mapping):
        raise SpaceError(f"space.restrict={limits!r} must map names of choices to options")
    expanded: dict[str, Sequence[Value]] = {}
    for pattern, options in limits.items():
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise SpaceError(unknown_choice(pattern, space, names))
        several = isinstance(options, Collection) and not isinstance(options, str)
        listed: list[Any] = list(options) if several else [options]  # type: ignore[arg-type]
        expanded.update(dict.fromkeys(matching, listed))
    return expanded
