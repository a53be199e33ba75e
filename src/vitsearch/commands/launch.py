"""What the processes of a launch agree on before Hydra runs: the run folder, how many they are.

torchrun and srun start all processes of a run at once. Each of them would choose a run folder by
its own clock, and would have to be told how many others there are.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vitsearch.commands.command_line import is_sweep, value_of
from vitsearch.commands.spec import with_settings
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_number
from vitsearch.runs.command_line import override
from vitsearch.runs.launch import outside_launch
from vitsearch.runs.layout import CONFIG_FILE

_STORE_KEY = "vitsearch/run_dir"
_STORE_SECONDS = 60
_CHOOSES = ("run_dir=", "resume=", "hydra.run.dir=", "--config-name", "-cn", "--multirun", "-m")


def choose_run_folder() -> None:
    """Put the folder of `resume=<folder>`, or one that all processes share, on the command line.

    Hydra reads it there before it makes the folder.

    Raises:
        ConfigError: There is nothing to resume, or the processes have no way to agree.
    """
    arguments = sys.argv[1:]
    if is_sweep(arguments) and value_of("run_dir", arguments) is not None:
        raise ConfigError(
            f"run_dir={value_of('run_dir', arguments)} is one folder, and each run of a sweep has "
            f"its own; say where the sweep goes with hydra.sweep.dir="
        )
    resumed = value_of("resume", arguments)
    if resumed in ("", None):
        agree_on_run_folder()
        return
    if is_sweep(arguments):
        raise ConfigError(
            "resume= goes on with one run; for a sweep, give the same hydra.sweep.dir again"
        )
    if not Path(resumed).is_dir():
        raise ConfigError(f"resume={resumed} is no folder")
    if not (Path(resumed) / CONFIG_FILE).is_file():
        raise ConfigError(
            f"resume={resumed} has no {CONFIG_FILE}, so there is no run to go on with"
        )
    named = value_of("run_dir", arguments)
    if named not in (None, resumed):
        raise ConfigError(f"resume={resumed} names the run folder; leave out run_dir={named}")
    sys.argv.append(override("run_dir", resumed))


def agree_on_run_folder() -> None:
    """Add a `run_dir` to the command line that is the same in all processes, if it needs one.

    Under torchrun the first process to ask decides; it asks torchrun's own store. Under srun the
    job decides, so a requeued job goes on with its run.

    Raises:
        ConfigError: The processes have no way to agree.
    """
    launch = outside_launch()
    if launch is None or any(argument.startswith(_CHOOSES) for argument in sys.argv[1:]):
        return
    if launch.name == "srun":
        job = "-".join(
            os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_STEP_ID") if name in os.environ
        )
        chosen = f"outputs/slurm-{job}"
    else:
        chosen = _first_to_ask(time.strftime("outputs/%Y-%m-%d/%H-%M-%S"))
    sys.argv.append(override("run_dir", chosen))


def _first_to_ask(proposal: str) -> str:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ConfigError("add run_dir=<folder>: the processes of torchrun cannot agree on one")
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=_STORE_SECONDS),
    )
    decided: bytes = store.compare_set(_STORE_KEY, "", proposal)
    return decided.decode()


def fit_to_launch(trainer: DictConfig) -> DictConfig:
    """A trainer's section that uses the processes that are there, unless it says otherwise.

    Raises:
        ConfigError: They contradict what was started.
    """
    launch = outside_launch()
    if launch is None:
        return trainer
    found = {}
    if trainer.get("devices", "auto") in ("auto", -1, "-1"):
        found["devices"] = launch.local
    if trainer.get("num_nodes", 1) == 1:
        found["num_nodes"] = launch.nodes
    fitted = with_settings(trainer, found)
    for name, started in (("devices", launch.local), ("num_nodes", launch.nodes)):
        given = fitted[name]
        number = len(given) if not isinstance(given, str | int) else given
        if str(number) != str(started):
            raise ConfigError(
                f"trainer.{name}={given}, but {launch.name} has started {launch.local} process(es) "
                f"on each of {launch.nodes} machine(s)"
            )
    return fitted


def limit_waiting(strategy: Any, seconds: float) -> None:
    """How long a process waits for the others in a collective before it gives up.

    Raises:
        ConfigError: The number is not above 0.
    """
    check_number("process_timeout", seconds, "(0, inf)")
    from vitsearch.lightning.resuming.lightning_internals import set_timeout  # slow to import

    set_timeout(strategy, timedelta(seconds=seconds))
