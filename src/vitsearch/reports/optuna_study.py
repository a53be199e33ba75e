"""A history as an Optuna study, for `optuna-dashboard` and whatever else reads studies."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from vitsearch.errors import ConfigError, MissingExtraError
from vitsearch.reports.facts.run_record import RunRecord, Trial, read_run

_MARK = "vitsearch"


def to_optuna(run: Path | RunRecord, storage: str | Path, *, name: str | None = None) -> str:
    """Write the history of a run as a study; an earlier export of the same search is replaced.

    Choices are categorical parameters, of each trial those that are active. Values are the score,
    to be maximised, and the costs that the search minimised. User attributes of a trial: `digest`,
    `generation`, `origin`, `parents`, `total`, and all costs. Candidates that were given up early
    are pruned trials.

    Args:
        run: A run folder, or what it holds.
        storage: A SQLite file, or the URL of a storage (`sqlite:///study.db`).
        name: Of the study; the folder's name by default.

    Returns:
        The URL.

    Raises:
        ConfigError: There is nothing to export, or another study with this name.
        MissingExtraError: Optuna is not installed.
    """
    optuna = _optuna()
    record = run if isinstance(run, RunRecord) else read_run(Path(run))
    if not record.trials or record.space is None:
        raise ConfigError(f"run={record.folder} has no history to export; search it first")
    name = name or record.name
    url = str(storage) if "://" in str(storage) else f"sqlite:///{storage}"
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        opened = _open(optuna, url)
        _make_room(optuna, opened, url, name, record)
        study = optuna.create_study(
            storage=opened,
            study_name=name,
            directions=["maximize", *["minimize"] * len(record.minimise)],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([record.figure.name, *record.minimise])
        for key, value in _attributes(record).items():
            study.set_user_attr(key, value)
        distributions = {
            choice.name: optuna.distributions.CategoricalDistribution(choice.options)
            for choice in record.space.choices
        }
        study.add_trials([_trial(optuna, t, record, distributions) for t in record.trials])
    finally:
        optuna.logging.set_verbosity(verbosity)
    return url


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "optuna= needs Optuna, which is not installed: pip install 'vitsearch[optuna]'"
        ) from error
    return optuna


def _open(optuna: Any, url: str) -> Any:
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # SQLAlchemy's, a driver's, or Optuna's own
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"optuna={url} cannot be opened: {reason}") from error


def _make_room(optuna: Any, storage: Any, url: str, name: str, record: RunRecord) -> None:
    """Remove an earlier export of the same search.

    Raises:
        ConfigError: Another study has the name.
    """
    for summary in optuna.get_all_study_summaries(storage=storage):
        if summary.study_name != name:
            continue
        if summary.user_attrs.get(_MARK) != _identity(record):
            raise ConfigError(
                f"optuna={url} has a study {name} that is not an export of this search; give "
                f"another file"
            )
        optuna.delete_study(study_name=name, storage=storage)


def _identity(record: RunRecord) -> dict[str, Any]:
    """What tells this search from others: all that its scores depend on, and where it began."""
    return {"settings": dict(record.settings), "first": record.trials[0].digest}


def _attributes(record: RunRecord) -> dict[str, Any]:
    assert record.space is not None
    return {
        _MARK: _identity(record),
        "space": record.space.name,
        "num_images": record.num_images,
        "constraint": str(record.constraint),
        "best": record.best.digest if record.best is not None else None,
        "command": record.command,
        "versions": dict(record.versions),
    }


def _trial(optuna: Any, trial: Trial, record: RunRecord, distributions: dict[str, Any]) -> Any:
    values = trial.architecture.to_dict()
    given_up = trial.total < record.num_images
    states = optuna.trial.TrialState
    costs = [trial.costs[cost] for cost in record.minimise]
    return optuna.trial.create_trial(
        state=states.PRUNED if given_up else states.COMPLETE,
        values=None if given_up else [trial.score, *costs],
        params=values,
        distributions={name: distributions[name] for name in values},
        user_attrs={
            "digest": trial.digest,
            "generation": trial.generation,
            "origin": trial.origin,
            "parents": list(trial.parents),
            "total": trial.total,
            **trial.costs,
        },
        intermediate_values={trial.total: trial.score} if given_up else None,
    )
