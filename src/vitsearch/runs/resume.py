"""Going on with a run: its folder says what it is, how far it came, and whether it is finished.

A run goes on with its own settings. Settings that say where it runs or what it shows may change
(`MAY_CHANGE`); any other difference is another run, and is refused by its name.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsearch.errors import ConfigError
from vitsearch.runs.command_line import command_text, override, shown_path
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format, without_format
from vitsearch.runs.layout import (
    CONFIG_FILE,
    ELASTIC_FOLDER,
    FINISHED_FILE,
    MODELS_FOLDER,
    ORIGINAL_FOLDER,
    REPORT_FILE,
    WRITTEN,
)
from vitsearch.runs.versions import installed_versions

MAY_CHANGE = (
    "callbacks.checkpoint",
    "callbacks.progress",
    "callbacks.search.report",
    "callbacks.shrinking.report",
    "callbacks.timing",
    "data.num_workers",
    "data.pin_memory",
    "logger",
    "model.compile",
    "process_timeout",
    "report",
    "resume",
    "run_dir",
    "threads",
    "trainer.accelerator",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.num_nodes",
    "trainer.strategy",
)
RETIRED = ("model.execution",)
"""Settings of runs written before that no longer exist; what they chose does not change a run."""
_SHOWN = 3
ABSENT = "not set"


def is_finished(config: DictConfig, folder: Path) -> bool:
    """Whether the run that a folder holds is finished; it must be this one.

    Raises:
        ConfigError: The folder holds another run.
    """
    now = plain_config(config)
    if not _has_begun(folder):
        return False
    saved = read_config(folder)
    if saved is None:
        raise ConfigError(
            f"run_dir={folder} contains results but no {CONFIG_FILE}, so this run cannot tell "
            f"whether they are its own; choose an empty run_dir"
        )
    kind = saved["command"]
    if kind != now["command"]:
        raise ConfigError(f"run_dir={folder} holds a run of vitsearch.{kind}; choose a fresh one")
    old, new = dict(leaves(saved)), dict(leaves(now))
    wrong = [
        f"{name} was {old.get(name, ABSENT)}, not {new.get(name, ABSENT)}"
        for name in sorted({*old, *new}, key=lambda name: (name.count("."), name))
        if old.get(name, ABSENT) != new.get(name, ABSENT) and not is_below(name, MAY_CHANGE)
    ]
    if wrong:
        raise ConfigError(
            f"run_dir={folder} holds a run whose {first_differences(wrong)}; choose a fresh "
            f"run_dir, or go on with {shlex.quote(override('resume', folder))} alone"
        )
    return (folder / FINISHED_FILE).is_file()


def finished_line(folder: Path) -> str:
    """What to print instead of running a finished run again."""
    places = {
        "model": "the network is in",
        "models": "the networks are in",
        "best": "the best network is in",
    }
    where = next(
        (f"{words} {folder / name}" for name, words in places.items() if (folder / name).is_dir()),
        f"the supernet is in {folder}",
    )
    report = folder / REPORT_FILE
    also = f", the report in {report}" if report.is_file() else ""
    return f"this run is finished, nothing is left to do: {where}{also}"


def mark_finished(folder: Path) -> None:
    """Say in the run folder that nothing is left to do."""
    facts = {"finished": True, "versions": installed_versions()}
    write_json(folder / FINISHED_FILE, with_format(facts))


def going_on(command: str, folder: Path, launcher: str | None) -> str:
    """The command that goes on with the run in a folder."""
    line = command_text(command, override("resume", shown_path(folder)))
    return line if launcher is None else f"{line} (started by {launcher}, as before)"


def command_line(folder: Path, command: str, overrides: Sequence[str]) -> str:
    """The first line of config.yaml, a comment: what was typed; `resume=` keeps what is there.

    Args:
        folder: The run folder.
        command: Name of the command.
        overrides: What the user wrote behind it.
    """
    file = folder / CONFIG_FILE
    if any(override.startswith("resume=") for override in overrides) and file.is_file():
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        return f"{first}\n" if first.startswith("# ") else ""
    return f"# {' '.join(command_text(command, *overrides).splitlines())}\n"


def retrain_command(folder: Path) -> str:
    """The command that trains the best architecture of a run as a network of its own."""
    return command_text("retrain", override("architecture", shown_path(folder)))


def read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration that a run was started with, as if it was started here and now.

    Raises:
        ConfigError: It is damaged.
        FormatError: A newer version has written it.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        return None
    try:
        found = OmegaConf.to_container(OmegaConf.load(file))
    except Exception as error:  # the parser raises errors of its own
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("run_dir"), str):
        raise ConfigError(f"{file} is no configuration of a run; choose a fresh run_dir")
    found = without_format({str(name): value for name, value in found.items()}, file)
    for name in RETIRED:
        section, _, key = name.rpartition(".")
        inside = found.get(section)
        if isinstance(inside, dict):
            inside.pop(key, None)
    here: dict[str, Any] = _at_home(moved(found, found["run_dir"], str(folder), below=True))
    here.setdefault("command", _command_of(here))
    return here


def sweep(folder: Path) -> None:
    """Remove what a killed process has left half written."""
    for written in WRITTEN:
        for place in {folder / written.parent, folder}:  # an audit's folder is its run folder
            for path in place.glob(f".{written.name}.*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
    for path in (folder / MODELS_FOLDER).glob(".*"):  # budgets have names of their own
        shutil.rmtree(path, ignore_errors=True)


def _has_begun(folder: Path) -> bool:
    """Whether there is anything that another run must not touch."""
    history = folder / "search" / "history.jsonl"
    return (
        (folder / "supernet.ckpt").is_file()
        or (folder / "network.ckpt").is_file()
        or (folder / "phases").is_dir()
        or (folder / ORIGINAL_FOLDER).is_dir()
        or (folder / ELASTIC_FOLDER).is_dir()
        or (history.is_file() and history.stat().st_size > 0)
        or (folder / FINISHED_FILE).is_file()
    )


def _command_of(config: Mapping[str, Any]) -> str:
    """Which command wrote a configuration before it said so itself."""
    if "model" not in config:
        return "search"
    return "retrain" if "architecture" in config else "train"


def moved(value: Any, old: str, new: str, *, below: bool) -> Any:
    """Settings with one folder in place of another, and so what lies below it if `below`."""
    if isinstance(value, dict):
        return {name: moved(inner, old, new, below=below) for name, inner in value.items()}
    if isinstance(value, list):
        return [moved(inner, old, new, below=below) for inner in value]
    if isinstance(value, str) and (value == old or (below and value.startswith(f"{old}/"))):
        return new + value[len(old) :]
    return value


def _at_home(config: Any) -> Any:
    """Settings with the home directory in place of `~`: what is typed comes without it."""
    return moved(config, "~", str(Path.home()), below=True)


def plain_config(config: DictConfig) -> dict[str, Any]:
    """A configuration as it would be read from a file."""
    text = OmegaConf.to_yaml(OmegaConf.create(OmegaConf.to_container(config, resolve=True)))
    plain = _at_home(OmegaConf.to_container(OmegaConf.create(text)))
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a configuration with its dotted name."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def is_below(name: str, keys: Sequence[str]) -> bool:
    """Whether a setting is one of some, or in a section of theirs."""
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def first_differences(differences: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(differences) - _SHOWN
    return ", ".join(differences[:_SHOWN]) + (f" (and {more} more)" if more > 0 else "")
