"""One line of words for an error that a user can mend: the setting, its value, what is legal."""

from __future__ import annotations

import re
import shlex
import sys
from difflib import get_close_matches

import hydra
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from vitsearch.commands.lightning_refusals import refused_by_lightning
from vitsearch.errors import VitSearchError
from vitsearch.runs.command_line import override
from vitsearch.searchers.entry_points import offered_searchers
from vitsearch.spaces.config import config_dir, unknown_space


def user_line(error: BaseException) -> str | None:
    """The one line that tells a user what to change; `None` for an error that is ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, VitSearchError):
            return _one_line(str(cause))
        # OmegaConf does not chain what a resolver raised.
        resolving = isinstance(cause, InterpolationResolutionError)
        cause = cause.__cause__ or (cause.__context__ if resolving else None)
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    if isinstance(error, MissingMandatoryValue):
        missing = str(error).partition("value: ")[2].split()
        return f"{missing[0]} is missing; add {missing[0]}=... to the command line"
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _hydra_line(error)
    if "Config group override must be" in str(error):
        given = [a for a in sys.argv[1:] if a.endswith("=null")]
        return f"{', '.join(given)}: a group cannot be null; --help lists its options"
    return refused_by_lightning(error)


def composing_line(error: Exception, config_name: str) -> str | None:
    """The same for what Hydra raises before a command begins, and for a job of a sweep."""
    line = _misspelt(error, config_name) or user_line(error) or line_of_a_job(error)
    if line is None and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"the run folder cannot be written: {error}"
    return line


def line_of_a_job(error: Exception) -> str | None:
    """The line of a job that the submitit launcher has started, out of its report."""
    if not type(error).__module__.startswith("submitit"):
        return None
    found = re.search(r"^vitsearch: (.+)$", str(error), re.MULTILINE)
    return found and found[1]


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _missing_config(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, name = missing.rpartition("/")
    if group == "space":
        return str(unknown_space(name))
    offered = offered_searchers() if group == "searcher" else {}
    options = ", ".join(sorted({*(error.options or []), *offered}))
    return f"{group}={name} is unknown; legal: {options}" if group else _hydra_line(error)


def _unreadable(given: str) -> str:
    """For an argument that is not in Hydra's grammar."""
    name, equals, value = given.partition("=")
    if not equals:
        return f"{given} is no setting; write name=value"
    if value.startswith(('"', "'", "[", "{")):
        return f"{given} cannot be read: a bracket is missing, or a text in it needs quotes"
    quoted = shlex.quote(override(name, value))
    return f"{given} cannot be read; quote the value for Hydra and for the shell: {quoted}"


def _instantiation(error: InstantiationException) -> str:
    cause = error.__cause__
    lines = str(error).splitlines()
    where = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("full_key:")), ""
    )
    text = _one_line(str(cause)) if cause is not None else lines[0]
    return f"{where}: {text}" if where else text


def _hydra_line(error: Exception) -> str:
    text = str(error)
    if "Could not override 'space'" in text:
        return "write +space=<name>, with a plus: a run has no space unless you add one"
    cause = error.__cause__
    lines = [line.strip() for line in text.splitlines() if line.strip()][:2]
    if cause is not None and isinstance(cause, OmegaConfBaseException):
        lines.append(str(cause).splitlines()[0])
    return _one_line(" ".join(lines))


def _misspelt(error: Exception, config_name: str) -> str | None:
    """For an override of a setting that does not exist: the nearest one, and those there are."""
    found = re.match(r"Could not override '([^']+)'", str(error))
    if found is None or found[1] == "space":
        return None
    section, dot, key = found[1].rpartition(".")
    wrong = f"{found[1]}="
    others = [a for a in sys.argv[1:] if "=" in a and not a.startswith((wrong, "-"))]
    try:
        with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = hydra.compose(config_name, others)
        legal = [str(name) for name in (OmegaConf.select(config, section) if dot else config)]
    except Exception:  # another override is wrong, too, or there is no such section
        return None
    if key in legal:  # legal holds what is shown, here by interpolation of another section
        return None
    close = get_close_matches(key, legal, 1)
    hint = f"did you mean {section}{dot}{close[0]}? " if close else ""
    given = next((a for a in sys.argv[1:] if a.startswith(wrong)), found[1])
    if section == "constraint":
        return (
            f"{given}: {key} is no metric; {hint}legal: {', '.join(legal)}; a metric of one's own "
            f"needs an entry point of the group vitsearch.metrics"
        )
    return f"{given} is no setting; {hint}legal: {', '.join(legal)}; +{given} adds a new one"
