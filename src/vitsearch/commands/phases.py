"""Training and searching in phases: each decides some choices, the next goes on from there.

The last phase writes into the run folder itself, those before it into `phases/<name>/`. A phase
that is finished is not run again, so a run in phases goes on where it has stopped.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch.costs.measure import CLOSED_FORM, MEASURED
from vitsearch.errors import ConfigError, HistoryError
from vitsearch.runs.formats import read_json
from vitsearch.runs.layout import BEST_FILE, FINISHED_FILE, PHASES_FOLDER, SUPERNET_FILE
from vitsearch.runs.resume import mark_finished, moved
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.phases import Phase, check_phases, phase_space, read_phases, shared_space


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one training trains.

    Attributes:
        space: Of the supernet.
        search_space: The part of it that is trained and searched.
        weights: A checkpoint of the same supernet to begin with; `None` for fresh weights.
        run_folder: Of the run; a part that is not the last writes elsewhere.
        run_config: Of the run, as it was given.
        phase: Its name; `None` for a run without phases.
    """

    space: SearchSpace
    search_space: SearchSpace
    run_folder: Path
    run_config: DictConfig
    weights: Path | None = None
    phase: str | None = None


class Train(Protocol):
    """Trains and searches one part; returns the best architecture, if there was a search."""

    def __call__(self, config: DictConfig, folder: Path, part: Part) -> Architecture | None:
        """Train, and search if the part has one."""


def split_phases(config: DictConfig) -> tuple[DictConfig, tuple[Phase, ...]]:
    """The configuration without `searcher.phases`, and the phases.

    Raises:
        ConfigError: There are phases but no search.
        SpaceError: A phase is malformed.
    """
    sections: Any = OmegaConf.to_container(config.searcher, resolve=True).get("phases")  # type: ignore[union-attr]
    own = copy.deepcopy(config)
    with open_dict(own):
        own.searcher.pop("phases", None)
        search = own.callbacks.get("search")
        if search is not None and "searcher" in search:  # a copy where a run goes on
            search.searcher.pop("phases", None)
    phases = read_phases(sections or [])
    if phases and config.callbacks.get("search") is None:
        raise ConfigError("searcher.phases needs a search: callbacks.search is null")
    return own, phases


def run_phases(
    config: DictConfig,
    folder: Path,
    space: SearchSpace,
    phases: Sequence[Phase],
    train: Train,
    *,
    run_config: DictConfig,
    is_writer: bool,
) -> None:
    """Run one phase after the other.

    Args:
        config: Of the run, without phases.
        folder: The run folder.
        space: All of it.
        phases: In order.
        train: Runs one.
        run_config: The same as it was given.
        is_writer: Whether this process marks phases as finished.

    Raises:
        SpaceError: A phase names what the space does not have.
    """
    check_phases(space, phases)
    decided: Architecture | None = None
    shared, place = space, folder
    for number, phase in enumerate(phases):
        weights = None
        if phase.supernet == "new":
            shared = shared_space(space, _together(phases[number:]), decided)
        else:
            weights = place / SUPERNET_FILE
        part = Part(
            space=shared,
            search_space=phase_space(space, phase, decided),
            run_folder=folder,
            run_config=run_config,
            weights=weights,
            phase=phase.name,
        )
        is_last = number == len(phases) - 1
        place = folder if is_last else folder / PHASES_FOLDER / phase.name
        if not is_last and (place / FINISHED_FILE).is_file():
            decided = _read_best(place)
            continue
        decided = train(_of_phase(config, phase, place), place, part)
        if is_writer and not is_last:
            mark_finished(place)


def _together(phases: Sequence[Phase]) -> list[Phase]:
    """The first phase and those that go on with its supernet."""
    found = [phases[0]]
    for phase in phases[1:]:
        if phase.supernet != "continue":
            break
        found.append(phase)
    return found


def _of_phase(config: DictConfig, phase: Phase, place: Path) -> DictConfig:
    own = copy.deepcopy(config)
    with open_dict(own):
        own.run_dir = str(place)
        if phase.constraint is not None:
            windows = dict.fromkeys((*CLOSED_FORM, *MEASURED), None) | dict(phase.constraint)
            own.constraint = OmegaConf.merge(own.constraint, windows)
            own.callbacks.search.constraint = own.constraint
    # Where a run goes on, its folder is written out wherever it is used.
    plain: Any = OmegaConf.to_container(own, resolve=True)
    found = OmegaConf.create(moved(plain, str(config.run_dir), str(place), below=False))
    assert isinstance(found, DictConfig)
    return found


def _read_best(place: Path) -> Architecture:
    found = read_json(place / BEST_FILE, HistoryError)
    return Architecture.from_dict(found["architecture"])
