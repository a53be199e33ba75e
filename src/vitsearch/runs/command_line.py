"""Commands as they are typed: a value is quoted for Hydra's grammar first, then for the shell.

`vitsearch.commands.command_line` reads what is written here; a test holds one against the other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

# Hydra reads these as the text that they are. It reads more so, but nobody needs it to.
_BARE = re.compile(r"[\w./:-]+( +[\w./:-]+)*", re.ASCII)
_NO_TEXT = re.compile(r"null|true|false|[+-]?(nan|inf|[\d._]+(e[+-]?\d+)?)", re.IGNORECASE)


def override(name: str, value: str | Path | Iterable[str | Path]) -> str:
    """The override that gives a setting this text, or these texts, by Hydra's grammar.

    Args:
        name: Of the setting.
        value: A text such as a path, or several of them.
    """
    if isinstance(value, str | Path):
        return f"{name}={_quoted(str(value))}"
    return f"{name}=[{','.join(_quoted(str(one)) for one in value)}]"


def command_text(command: str, *overrides: str) -> str:
    """A command to be pasted into a shell.

    Args:
        command: Its name.
        overrides: As Hydra reads them; see `override`.
    """
    return shlex.join(["python", "-m", f"vitsearch.{command}", *overrides])


def shown_path(folder: Path) -> str:
    """A folder as a user would type it here."""
    here = Path.cwd()
    shown = str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
    return f"./{shown}" if shown.startswith("~") else shown


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text) and not _NO_TEXT.fullmatch(text):
        return text
    # Backslashes count only in front of a quote: there each is written twice.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'
