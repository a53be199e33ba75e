"""One start of a command: what surrounds the work of every command that works in a folder."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console, RenderableType

from vitsearch.commands.launch import fit_to_launch
from vitsearch.commands.spec import RunSpec, check_seed, resumed_config, with_settings
from vitsearch.errors import ConfigError
from vitsearch.reports import make_console
from vitsearch.reports.words.training import device_in_words
from vitsearch.runs import resume, signals
from vitsearch.runs.files import write_text
from vitsearch.runs.formats import with_format
from vitsearch.runs.launch import is_first_process, is_started_by_lightning
from vitsearch.runs.layout import CONFIG_FILE
from vitsearch.runs.lock import sole_run
from vitsearch.spaces import SearchSpace

if TYPE_CHECKING:
    import torch

_TRIAL = "trainer.fast_dev_run: everything ran; nothing was searched, scored or saved"


class Session:
    """A command at work in its folder: lock, signals, console, the words at both ends.

    Attributes:
        command: Its name.
        folder: The run folder.
        is_first: Whether this process prints and writes.
    """

    def __init__(self, command: str, folder: Path, *, locks: bool) -> None:
        """Prepare a start; it begins with the `with` block.

        Args:
            command: Name of the command.
            folder: The run folder.
            locks: Whether no other run may work in the folder meanwhile.
        """
        self.command = command
        self.folder = folder
        self.is_first = is_first_process()
        self._locks = locks
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Session:
        if is_started_by_lightning():
            from vitsearch.lightning.distributed import end_with_parent  # takes time, and torch

            end_with_parent()
        with contextlib.ExitStack() as held:
            held.enter_context(signals.listening(speaks=self.is_first))
            if self._locks:
                held.enter_context(sole_run(self.folder, self.command))
            self._held = held.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._held.__exit__(*exception)

    @functools.cached_property
    def console(self) -> Console:
        """Where the first process prints."""
        return make_console()

    def settings(self, config: DictConfig) -> DictConfig:
        """The configuration that the command works with.

        Of the run that the folder holds where it goes on (`resume=`); with the command's name, and
        the folder and devices of this start.

        Args:
            config: What Hydra has composed.

        Raises:
            ConfigError: The folder holds another run, or a setting is not possible in this start.
        """
        place = {"run_dir": str(self.folder), "command": self.command}
        made = with_settings(config, place)  # `now` differs in the processes of a distributed run
        if config.get("resume"):
            made = resumed_config(made, self.folder, HydraConfig.get().overrides.task)
        if "trainer" in made:
            _refuse_distributed_multirun(made.trainer)
            made = with_settings(made, {"trainer": fit_to_launch(made.trainer)})
        if "seed" in made:
            check_seed(made.seed)
        quiet_warnings()
        return made

    def is_finished(self, run: RunSpec) -> bool:
        """Whether nothing is left to do, as it then says.

        Raises:
            ConfigError: The folder holds another run.
        """
        finished = resume.is_finished(run.config, run.folder)
        if finished and self.is_first:
            print(f"vitsearch: {resume.finished_line(run.folder)}")
        return finished

    def compute_on(self, device: torch.device, space: SearchSpace, config: DictConfig) -> str:
        """Choose the number of threads for the rest of the session; see `lightning.threads`.

        Args:
            device: Where the session computes.
            space: Of the networks.
            config: Its `threads` is a number or `auto`.

        Returns:
            Device and threads in words.

        Raises:
            ConfigError: `threads` is neither.
        """
        from vitsearch.lightning.threads import computing_with, number_of_threads, threads_on

        threads = number_of_threads(config.get("threads", "auto"), space, device)
        self._held.enter_context(computing_with(threads))
        return device_in_words(device.type, threads_on(device))

    def begin(
        self, run: RunSpec, panel: Callable[[], RenderableType], *, notes: Iterable[str] = ()
    ) -> None:
        """Write `config.yaml` and print what begins; everything has been checked by now.

        Args:
            run: What begins.
            panel: Makes the panel at the start.
            notes: Lines below it.
        """
        if not self.is_first:
            return
        for folder, config in run.records().items():
            save_config(config, folder)
        self.console.print(panel())
        for note in notes:
            self.say(note)

    def begin_training(
        self,
        run: RunSpec,
        datamodule: Any,
        panel: Callable[[], RenderableType],
        *,
        checkpoint: Path | None,
        notes: Iterable[str] = (),
    ) -> None:
        """`begin`, when the images have been found; the trainer looks for them later.

        Args:
            run: What begins.
            datamodule: The images.
            panel: Makes the panel at the start.
            checkpoint: What the training goes on from.
            notes: Lines below the panel.
        """
        if not self.is_first:
            return
        datamodule.prepare_data()
        datamodule.setup("fit")
        self.begin(run, panel, notes=notes)
        if checkpoint is not None:
            self.say("going on with the training of this folder")

    def finish(self, run: RunSpec, steps: Callable[[], str]) -> None:
        """Mark a run as finished unless it was a trial; behind the last one say what comes next.

        Args:
            run: What is finished.
            steps: Makes the commands that a user may want now.
        """
        if not self.is_first:
            return
        is_trial = OmegaConf.select(run.config, "trainer.fast_dev_run")
        if not is_trial:
            resume.mark_finished(run.folder)
        if run.folder == self.folder:
            self.say(_TRIAL if is_trial else steps())

    def say(self, text: str) -> None:
        """Print plain text as it is, so that its commands can be copied."""
        if self.is_first:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


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


def _refuse_distributed_multirun(trainer: DictConfig) -> None:
    """A sweep in one process cannot start further processes of its own."""
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    launched_outside = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID"))
    devices = trainer.get("devices", 1)
    if launched_outside or devices in (1, "1", "auto", [0]):
        return
    raise ConfigError(
        f"--multirun with trainer.devices={devices} would run the whole sweep again in every "
        f"process; start each run with torchrun or srun, or sweep with the submitit launcher"
    )


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
