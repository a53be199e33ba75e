"""`python -m vitsearch.report run=<run>`: what a run has found, as one page; also of several runs.

With `optuna=study.db` the history also becomes a study for `optuna-dashboard`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from vitsearch.commands.command import command
from vitsearch.commands.session import Session
from vitsearch.errors import ConfigError
from vitsearch.reports.facts.run_record import check_run
from vitsearch.reports.optuna_study import to_optuna
from vitsearch.reports.page.repeat_section import shown_path
from vitsearch.reports.page.report import names_of, write_report


def report_folder(run: Any, of_several: str) -> str:
    """Where a report goes, for the configuration; so nothing is made before the runs are found.

    Args:
        run: What the command was given.
        of_several: The folder for the report of several runs.

    Raises:
        ConfigError: One of them is no run.
    """
    runs = run_folders(run)
    return str(runs[0]) if len(runs) == 1 else of_several


def run_folders(run: Any) -> list[Path]:
    """The folders that `run` names; all are those of runs.

    Raises:
        ConfigError: None is named, one twice, or one is no run.
    """
    if run is None or (isinstance(run, Sequence | ListConfig) and not len(run)):
        raise ConfigError("no run: add run=<run folder>, or run=[a,b] for several side by side")
    named = [str(one) for one in run] if isinstance(run, list | ListConfig) else [str(run)]
    folders = [Path(one) for one in named]
    for number, folder in enumerate(folders):
        check_run(folder)
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise ConfigError(f"run={folder} is named twice; name each run once")
    return folders


OmegaConf.register_new_resolver("report_folder", report_folder, replace=True)


@command("report", no_sweep="is not for reports; run=[a,b] shows several runs side by side")
def main(config: DictConfig, session: Session) -> None:
    """Write the report, and the studies if they are wanted."""
    runs = run_folders(config.run)
    names, storage = names_of(runs), ""
    if config.optuna is not None:
        for run, name in zip(runs, names, strict=True):
            storage = to_optuna(run, config.optuna, name=name)
    print(f"report: {shown_path(write_report(runs, session.folder))}")
    if storage:
        print(f"studies: {', '.join(names)}; look at them: optuna-dashboard {shlex.quote(storage)}")


if __name__ == "__main__":
    main()
