"""How a command ends before its time: by a signal, or because another process is gone."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from vitsearch.runs import resume
from vitsearch.runs.command_line import shown_path
from vitsearch.runs.launch import is_first_process, is_started_by_lightning, outside_launch
from vitsearch.runs.layout import CONFIG_FILE

# What gloo, NCCL and PyTorch's store say when the other side of a connection is gone, or silent.
_LOST = r"gloo|NCCL|Connection (closed|reset)|Broken pipe|Socket|TCPStore|[Tt]imed out|timeout"
# What the system says, in the words of Python's, PyTorch's and safetensors' errors alike.
_FULL = (
    "No space left on device|Disk quota exceeded|Read-only file system|"
    "PytorchStreamWriter failed writing file"
)


def end_early(config_name: str | None, folder: Path, exit_code: int) -> NoReturn:
    """The end that a user or a cluster has asked for."""
    if is_first_process():
        print(f"vitsearch: interrupted; {_how_to_go_on(config_name, folder)}", file=sys.stderr)
    # Lightning kills the first process when one that it has started ends with another status.
    raise SystemExit(0 if is_started_by_lightning() else exit_code)


def full_disk_line(error: BaseException, config_name: str | None, folder: Path) -> str | None:
    """The line for a run that could not write its files any more; `None` for another error."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        found = re.search(_FULL, str(cause))
        if found is not None:
            return (
                f"run_dir={shown_path(folder)} cannot be written: {found[0]}; "
                f"{_how_to_go_on(config_name, folder)}"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def is_lost_process(error: Exception) -> bool:
    """Whether a collective failed because another process is gone."""
    if _process_groups() is None:
        return False
    return isinstance(error, RuntimeError) and re.search(_LOST, str(error)) is not None


def end_with_the_others(config_name: str | None, folder: Path) -> NoReturn:
    """End this process because another one has ended."""
    print(
        f"vitsearch: another process of this run is gone or hangs, so this one ends; "
        f"{_how_to_go_on(config_name, folder)}",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    os._exit(1)  # an orderly end would wait for the others again


def leave_the_others() -> None:
    """Close the connections to the other processes of this run.

    PyTorch's threads for them still let go of the last tensors after the last word is exchanged.
    When Python has ended before, such a thread aborts the process after all of its work was done
    (https://github.com/pytorch/pytorch/pull/179291); Lightning closes them for NCCL alone.
    """
    distributed = _process_groups()
    if distributed is not None:
        distributed.destroy_process_group()


def remove_if_empty(folder: Path) -> None:
    """Take back the folders that Hydra made for a run that did not start."""
    if Path.cwd().is_relative_to(folder.resolve()):
        return  # the user's own
    inside = [path for path in folder.parents if Path.cwd() in path.parents]
    with contextlib.suppress(OSError):
        for path in (folder, *inside):
            path.rmdir()  # refuses a folder that holds anything


def _process_groups() -> ModuleType | None:
    """`torch.distributed`, where this process is one of a group; not imported for the question."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def _how_to_go_on(config_name: str | None, folder: Path) -> str:
    """In words; without the name of a command that takes `resume=`, the same one goes on."""
    if not (folder / CONFIG_FILE).is_file():
        remove_if_empty(folder)
        return "nothing was written yet"
    if config_name is None:
        return "all that was finished is kept; the same command goes on"
    launch = outside_launch()
    command = resume.going_on(config_name, folder, launch.name if launch else None)
    return f"all that was done is kept; go on with: {command}"
