"""What a run has left in its folder, as plain values: the start of every report.

Pieces that are missing are left out: a run may have been trained without a search, searched from
another run's supernet, interrupted, or be made by an earlier version. Pieces that are damaged are
an error, because a report must not look complete where it is not.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.costs.metrics import costs_of
from vitsearch.errors import ConfigError, HistoryError, SpaceError, VitSearchError
from vitsearch.reports.facts.shrunk import Shrunk
from vitsearch.reports.facts.transformed import Transformed
from vitsearch.reports.words.figure import TOP1, Figure, figure_of
from vitsearch.runs import layout
from vitsearch.runs.formats import read_json, without_format
from vitsearch.runs.history import HistoryRecord, read_history
from vitsearch.spaces import Architecture, SearchSpace

_COMMAND = "# python -m vitsearch."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One line of the history.

    Attributes:
        number: From 1, in the order in which it was scored.
        digest: Of its architecture.
        generation: From 0.
        origin: See `vitsearch.searchers.Candidate`.
        parents: Digests.
        score: Its figure.
        total: How many images that rests on.
        costs: By name, those that the line has, in the order of the table of metrics.
        architecture: What was scored.
    """

    number: int
    digest: str
    generation: int
    origin: str
    parents: tuple[str, ...]
    score: float
    total: int
    costs: Mapping[str, float]
    architecture: Architecture

    @classmethod
    def read(cls, number: int, record: HistoryRecord) -> Trial:
        """From a line of the history."""
        return cls(
            number=number,
            digest=record.digest,
            generation=record.generation,
            origin=record.origin,
            parents=record.parents,
            score=record.score,
            total=record.total,
            costs=costs_of(record.costs),
            architecture=Architecture.from_dict(record.architecture),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """All of a run.

    Attributes:
        folder: Where it lies.
        name: What it is called beside other runs.
        config: All settings; empty if they were not kept.
        command: What was typed; `None` if that was not kept.
        space: What was searched; `None` if nothing says.
        trials: The history, in order.
        best: The best architecture; of an unfinished search the best so far.
        front: What no other candidate betters, the cheapest first; empty with one objective.
        minimise: The costs that were minimised beside the score.
        figure: What candidates were scored by.
        constraint: The budget.
        settings: What the scores depend on.
        networks: Best and largest network on both splits, by name.
        metrics: Rows of metrics.csv; each has the numbers that it holds, by column.
        timing: Starts of each part of the work, see `timing.json`.
        versions: Of Python and packages, by name; several where starts differ.
        audit: Facts of the audit; `None` without one.
        evaluation: Facts of an evaluation of its network; `None` without one.
        shrunk: What a shrinking has found; `None` without one.
        transformed: What given architectures became; none in another run.
        shrinks: Step and costs of each shrink of a training that shrinks; `None` for another.
        phases: The phases before the last, in order.
        is_searched: Whether the search is over.
        is_finished: Whether nothing is left to do.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    space: SearchSpace | None = None
    trials: tuple[Trial, ...] = ()
    best: Trial | None = None
    front: tuple[Trial, ...] = ()
    minimise: tuple[str, ...] = ()
    figure: Figure = TOP1
    constraint: Constraint = field(default_factory=Constraint)
    settings: Mapping[str, Any] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: tuple[Mapping[str, float], ...] = ()
    timing: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    audit: Mapping[str, Any] | None = None
    evaluation: Mapping[str, Any] | None = None
    shrunk: Shrunk | None = None
    shrinks: tuple[Mapping[str, Any], ...] | None = None
    transformed: tuple[Transformed, ...] = ()
    phases: tuple[RunRecord, ...] = ()
    is_searched: bool = False
    is_finished: bool = False

    @property
    def num_images(self) -> int:
        """How many images a whole score rests on; 0 without a history."""
        return max((trial.total for trial in self.trials), default=0)

    @property
    def whole(self) -> tuple[Trial, ...]:
        """The candidates that were scored on all images."""
        return tuple(trial for trial in self.trials if trial.total == self.num_images)

    @property
    def num_classes(self) -> int | None:
        """Of the classifier, whose cost counts; `None` if nothing says."""
        found = self.settings.get("num_classes")
        return found if isinstance(found, int) else None


def read_run(folder: Path, name: str | None = None) -> RunRecord:
    """Everything that a run folder holds.

    Args:
        folder: Of a run of `vitsearch.train` or `vitsearch.search`, or of `EvolutionarySearch`.
        name: What to call it; the folder's own name by default.

    Raises:
        ConfigError: It is no run folder.
        FormatError: A newer version has written one of its files.
        HistoryError: One of its files is damaged.
    """
    check_run(folder)
    trials = _trials(folder)
    best = _json(folder / layout.BEST_FILE)
    config, command = _config(folder / layout.CONFIG_FILE)
    front = _json(folder / layout.FRONT_FILE) or {}
    by_digest = {trial.digest: trial for trial in trials}
    result = _json(folder / layout.RESULT_FILE) or {}
    timing = _json(folder / layout.TIMING_FILE) or {}
    shrunk = _json(folder / layout.SHRINK_FILE)
    transformed = _json(folder / layout.TRANSFORMED_FILE) or {}
    finished = _json(folder / layout.FINISHED_FILE)
    settings = _json(folder / layout.SETTINGS_FILE) or {}
    if best is not None:
        settings = {**settings, "num_classes": best.get("num_classes")}
    return RunRecord(
        folder=folder,
        name=name or folder.resolve().name,
        config=config,
        command=command,
        space=_space(best, config),
        trials=trials,
        best=_best(trials, None if best is None else str(best["digest"])),
        front=tuple(
            by_digest[one["digest"]] for one in front.get("front", ()) if one["digest"] in by_digest
        ),
        minimise=tuple(front.get("minimise", ())),
        figure=figure_of(settings),
        constraint=_constraint(best, config),
        settings=settings,
        networks={network["name"]: network for network in result.get("networks", ())},
        metrics=_metrics(folder / layout.METRICS_FILE),
        timing=timing,
        versions=_versions(timing, finished or {}),
        audit=_json(folder / layout.AUDIT_FILE),
        evaluation=_json(folder / layout.EVALUATION_FILE),
        shrunk=None if shrunk is None else Shrunk.read(shrunk),
        transformed=tuple(map(Transformed.from_dict, transformed.get("transformed", ()))),
        shrinks=_shrinks(folder / layout.SHRINKS_FILE),
        phases=tuple(read_run(path) for path in _phases(folder, config)),
        is_searched=best is not None,
        is_finished=finished is not None,
    )


def check_run(folder: Path) -> None:
    """Refuse a folder that holds no run.

    Raises:
        ConfigError: It is not there, or has neither a history nor metrics.
    """
    if not folder.is_dir():
        raise ConfigError(f"run={folder} does not exist; give the folder of a run")
    if not _is_run(folder):
        raise ConfigError(
            f"run={folder} is no run folder: it has neither {layout.HISTORY_FILE} nor "
            f"{layout.METRICS_FILE}"
        )


def _is_run(folder: Path) -> bool:
    files = (layout.HISTORY_FILE, layout.METRICS_FILE)
    return any((folder / file).is_file() for file in files)


def _phases(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """The folders of the phases before the last, in their order."""
    listed = (config.get("searcher") or {}).get("phases") or []
    names = [str(phase.get("name")) for phase in listed if isinstance(phase, Mapping)]
    found = [path for path in (folder / layout.PHASES_FOLDER).glob("*") if _is_run(path)]
    order = {name: place for place, name in enumerate(names)}
    return sorted(found, key=lambda path: (order.get(path.name, len(order)), path.name))


def _trials(folder: Path) -> tuple[Trial, ...]:
    trials = []
    for number, record in enumerate(read_history(folder), 1):
        try:
            trials.append(Trial.read(number, record))
        except SpaceError as error:
            raise HistoryError(
                f"{folder / layout.HISTORY_FILE} is damaged: line {number} is no candidate: {error}"
            ) from error
    return tuple(trials)


def _best(trials: Sequence[Trial], digest: str | None) -> Trial | None:
    """The one that the run chose; else the best so far, of equals the cheapest."""
    most = max((trial.total for trial in trials), default=0)
    whole = [trial for trial in trials if trial.total == most]
    chosen = [trial for trial in whole if trial.digest == digest]
    key = sorted(chosen or whole, key=lambda one: (-one.score, one.costs["macs"], one.digest))
    return key[0] if key else None


def _json(file: Path) -> dict[str, Any] | None:
    return read_json(file, HistoryError) if file.is_file() else None


def _config(file: Path) -> tuple[dict[str, Any], str | None]:
    """The settings, and the command that the first line names."""
    if not file.is_file():
        return {}, None
    from omegaconf import OmegaConf

    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        found = OmegaConf.to_container(OmegaConf.create(text))
    except Exception as error:  # the parser raises errors of its own
        raise HistoryError(f"{file} is damaged: {' '.join(str(error).split())}") from error
    first = text.partition("\n")[0]
    command = first.removeprefix("# ") if first.startswith(_COMMAND) else None
    named = {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}
    return without_format(named, file), command


def _shrinks(file: Path) -> tuple[Mapping[str, Any], ...] | None:
    """The shrinks of a training, in order; `None` for a training that does not shrink.

    Raises:
        HistoryError: One of them says nothing of its step or its MACs.
    """
    found = _json(file)
    if found is None:
        return None
    listed = found.get("shrinks")
    if not isinstance(listed, list):
        raise HistoryError(f"{file} is damaged: it lists no shrinks")
    for number, one in enumerate(listed, 1):
        values = one if isinstance(one, Mapping) else {}
        if not all(isinstance(values.get(name), int) for name in ("step", "macs", "params")):
            raise HistoryError(f"{file} is damaged: shrink {number} has no step or no costs")
    return tuple(listed)


def _versions(timing: Mapping[str, Any], finished: Mapping[str, Any]) -> dict[str, str]:
    """Those of every start; of a run without `timing.json` those that ended it."""
    starts = [start.get("versions", {}) for part in timing.values() for start in part]
    found: dict[str, list[str]] = {}
    for versions in starts or [finished.get("versions", {})]:
        for name, version in versions.items():
            if version is not None and version not in found.setdefault(name, []):
                found[name].append(version)
    return {name: ", ".join(listed) for name, listed in found.items()}


def _space(best: Mapping[str, Any] | None, config: Mapping[str, Any]) -> SearchSpace | None:
    found = best.get("space") if best is not None else config.get("space")
    try:
        return SearchSpace(found) if isinstance(found, Mapping) else None
    except VitSearchError:  # of another version, or of parts that are not installed here
        return None


def _constraint(best: Mapping[str, Any] | None, config: Mapping[str, Any]) -> Constraint:
    found = best.get("constraint") if best is not None else config.get("constraint")
    try:
        return Constraint.from_settings(found) if isinstance(found, Mapping) else Constraint()
    except VitSearchError:
        return Constraint()


def _metrics(file: Path) -> tuple[dict[str, float], ...]:
    if not file.is_file():
        return ()
    with file.open(newline="", encoding="utf-8", errors="replace") as text:
        return tuple(_numbers(row) for row in csv.DictReader(text))


def _numbers(row: Mapping[str | None, Any]) -> dict[str, float]:
    found = {}
    for name, value in row.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError):
            continue
    return found
