"""What every command shares: Hydra around a task, and user errors as one line with exit code 2.

Hydra is used by the entry points and this module, nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

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
from vitsearch.commands.lightning_refusals import refused_by_lightning
from vitsearch.commands.resume import resumed_config
from vitsearch.errors import ConfigError, SpaceError, VitSearchError
from vitsearch.runs import resume, signals
from vitsearch.runs.files import write_text
from vitsearch.runs.formats import with_format
from vitsearch.runs.launch import is_first_process as is_first_process
from vitsearch.runs.layout import CONFIG_FILE
from vitsearch.runs.lock import sole_run
from vitsearch.searchers.entry_points import offered_searchers
from vitsearch.spaces.config import config_dir, list_spaces, unknown_space

Task = Callable[[DictConfig, Path], None]
_USER_ERROR = 2
_FULL_ERROR = "HYDRA_FULL_ERROR"


def command(
    config_name: str, *, resumes: bool = False, locks: bool = False
) -> Callable[[Task], Callable[[], None]]:
    """Decorator: a function of (configuration, run folder) becomes a command-line command.

    Args:
        config_name: The configuration, and the name of the command.
        resumes: Whether it leaves a run folder that it can go on with; it then locks it.
        locks: Whether no other run may work in its folder at the same time.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            try:
                register_offered()
                if resumes:
                    choose_run_folder()
                with _full_errors():
                    _run(config_name, task, resumes=resumes, locks=locks or resumes)
            except VitSearchError as error:
                fail(str(error))
            except KeyboardInterrupt:
                print("\nvitsearch: interrupted before the run began", file=sys.stderr)
                raise SystemExit(130) from None

        return main

    return decorate


def _run(config_name: str, task: Task, *, resumes: bool, locks: bool) -> None:
    going_on = config_name if resumes else None
    failures: list[Exception] = []

    @functools.wraps(task)
    def guarded(config: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        with open_dict(config):
            config.run_dir = str(folder)  # `now` differs in the processes of a distributed run
        try:
            alone = sole_run(folder, config_name) if locks else contextlib.nullcontext()
            with signals.listening(speaks=is_first_process()), alone:
                if config.get("resume"):
                    given = HydraConfig.get().overrides.task
                    config = resumed_config(config, folder, given)
                try:
                    task(config, folder)
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
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(
            guarded
        )()
    except Exception as error:
        if error in failures:
            raise
        line = _misspelt(error, config_name) or user_line(error) or _line_of_a_job(error)
        if line is None and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            line = f"the run folder cannot be written: {error}"
        if line is None:
            raise
        fail(line)


def fail(line: str) -> NoReturn:
    """Print one line and exit with the status of a user's mistake."""
    print(f"vitsearch: {line}", file=sys.stderr)
    raise SystemExit(_USER_ERROR)


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
        return f"{_one_line(str(error))}; give it on the command line"
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _hydra_line(error)
    if "Config group override must be" in str(error):
        given = [a for a in sys.argv[1:] if a.endswith("=null")]
        return f"{', '.join(given)}: a group cannot be null; --help lists its options"
    return refused_by_lightning(error)


def _line_of_a_job(error: Exception) -> str | None:
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
    return f"{given} is no setting; {hint}legal: {', '.join(legal)}; +{given} adds a new one"


def check_seed(seed: object) -> None:
    """Refuse what cannot seed every random generator.

    Raises:
        ConfigError: Says what can.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed={seed} must be a whole number from 0 to {2**32 - 1}")


@contextlib.contextmanager
def _full_errors() -> Any:
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


def required_space(config: DictConfig) -> dict[str, Any]:
    """The configuration of the space that the command was given.

    Raises:
        SpaceError: There is none; the message lists the spaces.
    """
    given = config.get("space")
    if given is None:
        raise SpaceError(f"no space: add +space=<name>; spaces: {', '.join(list_spaces())}")
    if not isinstance(given, DictConfig):
        raise unknown_space(str(given))
    plain = OmegaConf.to_container(given, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def refuse_distributed_multirun(config: DictConfig) -> None:
    """A sweep in one process cannot start further processes of its own.

    Raises:
        ConfigError: `--multirun` together with several local devices.
    """
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    launched_outside = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID"))
    devices = config.trainer.get("devices", 1)
    if launched_outside or devices in (1, "1", "auto", [0]):
        return
    raise ConfigError(
        f"--multirun with trainer.devices={devices} would run the whole sweep again in every "
        f"process; start each run with torchrun or srun, or sweep with the submitit launcher"
    )


def save_config(config: DictConfig, folder: Path) -> None:
    """Write the resolved configuration as config.yaml; its first line is the command, if any.

    Raises:
        ConfigError: The run folder cannot be written.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True)
    plain = OmegaConf.create(with_format(settings))
    first = ""
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        given = list(hydra.overrides.task)
        first = resume.command_line(folder, str(hydra.job.config_name), given)
    try:
        resume.sweep(folder)
        write_text(folder / CONFIG_FILE, first + OmegaConf.to_yaml(plain))
    except OSError as error:
        raise ConfigError(f"run_dir={folder} cannot be written: {error.strerror}") from error


def quiet_warnings() -> None:
    """Silence advice that does not apply to these commands; warnings of substance stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It says which process died, before it kills the others.
    logging.getLogger("lightning_fabric.strategies.launchers").setLevel(logging.INFO)
    for advice in (
        ".*does not have many workers.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*find_unused_parameters=True was specified in DDP constructor.*",
        ".*treespec, LeafSpec.*",
        ".*Total length of .* across ranks is zero.*",  # nothing validates with train_on=all
        ".*It is recommended to use `self.log.*sync_dist=True.*",
        ".*Grad strides do not match bucket view strides.*",  # compiled: of dimensions of size 1
    ):
        warnings.filterwarnings("ignore", advice)
