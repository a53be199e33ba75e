"""The decorator that makes a function a command: Hydra around it, one line for a user's error.

Hydra is used by the commands and this folder, nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vitsearch.commands.command_line import is_sweep, read_arguments
from vitsearch.commands.ending import (
    end_early,
    end_with_the_others,
    full_disk_line,
    is_lost_process,
    leave_the_others,
    remove_if_empty,
)
from vitsearch.commands.entry_points import register_offered
from vitsearch.commands.launch import choose_run_folder
from vitsearch.commands.messages import composing_line, user_line
from vitsearch.commands.session import Session
from vitsearch.errors import ConfigError, VitSearchError
from vitsearch.runs import signals
from vitsearch.spaces.config import config_dir

Task = Callable[[DictConfig, Session], None]
_USER_ERROR = 2
_FULL_ERROR = "HYDRA_FULL_ERROR"


def command(
    name: str,
    *,
    resumes: bool = False,
    locks: bool = False,
    no_sweep: str | None = None,
    takes_model: bool = False,
) -> Callable[[Task], Callable[[], None]]:
    """Decorator: a function of (configuration, session) becomes a command-line command.

    Args:
        name: Of the command, and of its configuration.
        resumes: Whether it leaves a run folder that it can go on with; it then locks it.
        locks: Whether no other run may work in its folder at the same time.
        no_sweep: Why the command cannot be swept, behind `--multirun`; `None` if it can.
        takes_model: Whether `model=<path>` means `model.path=<path>`: `model` is also a group of
            configurations, of training, and Hydra would look for the path in it.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            try:
                if no_sweep is not None and is_sweep(sys.argv[1:]):
                    raise ConfigError(f"--multirun {no_sweep}")
                if takes_model:
                    sys.argv[1:] = [re.sub("^model=", "model.path=", a) for a in sys.argv[1:]]
                sys.argv[1:] = read_arguments(sys.argv[1:])
                register_offered()
                if resumes:
                    choose_run_folder()
                with _full_errors():
                    _run(name, task, resumes=resumes, locks=locks or resumes)
            except VitSearchError as error:
                fail(str(error))
            except KeyboardInterrupt:
                print("\nvitsearch: interrupted before the run began", file=sys.stderr)
                raise SystemExit(130) from None

        return main

    return decorate


def _run(name: str, task: Task, *, resumes: bool, locks: bool) -> None:
    going_on = name if resumes else None
    failures: list[Exception] = []

    @functools.wraps(task)
    def guarded(config: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            with Session(name, folder, locks=locks) as session:
                try:
                    task(session.settings(config), session)
                except Exception as error:
                    if signals.wished() and user_line(error) is None:  # a loader's worker ended
                        raise signals.Interrupted(signals.wished()) from error
                    raise
        except signals.Interrupted as stop:
            end_early(going_on, folder, stop.exit_code)
        except Exception as error:
            line = user_line(error) or full_disk_line(error, going_on, folder)
            if line is None and is_lost_process(error):
                end_with_the_others(going_on, folder)
            if line is None:
                failures.append(error)
                raise
            remove_if_empty(folder)
            fail(line)
        finally:
            leave_the_others()

    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)()
    except Exception as error:
        line = None if error in failures else composing_line(error, name)
        if line is None:
            raise
        fail(line)


def fail(line: str) -> NoReturn:
    """Print one line and exit with the status of a user's mistake."""
    print(f"vitsearch: {line}", file=sys.stderr)
    raise SystemExit(_USER_ERROR)


@contextlib.contextmanager
def _full_errors() -> Iterator[None]:
    """Let Hydra raise errors as they are instead of printing them; `user_line` words them."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_FULL_ERROR, None)
        else:
            os.environ[_FULL_ERROR] = before
