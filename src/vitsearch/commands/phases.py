"""A run in phases: each decides some choices, the next goes on from there.

Every phase is a run of its own. The last one writes into the run folder itself, those before it
into `phases/<name>/`. A phase that is finished is not run again, so a run in phases goes on where
it has stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsearch.commands.spec import (
    RunSpec,
    SupernetSpec,
    Train,
    with_settings,
    without_phases,
)
from vitsearch.costs.metrics import cost_metrics
from vitsearch.errors import ConfigError, HistoryError
from vitsearch.runs.formats import read_json
from vitsearch.runs.layout import BEST_FILE, FINISHED_FILE, PHASES_FOLDER, SUPERNET_FILE
from vitsearch.runs.resume import moved
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.phases import Phase, phase_space, read_phases, shared_space


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasedSpec(RunSpec):
    """A training in phases.

    Attributes:
        space: All of it.
        phases: In order.
    """

    space: SearchSpace
    phases: tuple[Phase, ...]

    def carry_out(self, train: Train) -> None:
        """Train and search one phase after the other."""
        decided: Architecture | None = None
        shared, folder = self.space, self.folder
        for number, phase in enumerate(self.phases):
            weights: Path | None = folder / SUPERNET_FILE
            if phase.supernet == "new":
                shared = shared_space(self.space, _sharing_supernet(self.phases[number:]), decided)
                weights = None
            is_last = phase is self.phases[-1]
            folder = self.folder if is_last else self.folder / PHASES_FOLDER / phase.name
            if not is_last and (folder / FINISHED_FILE).is_file():
                decided = _read_best(folder)
                continue
            part = SupernetSpec(
                folder=folder,
                config=_settings(self.config, phase, folder),
                part_of=self,
                space=shared,
                search_space=phase_space(self.space, phase, decided),
                phase=phase.name,
                weights=weights,
            )
            decided = train(part)


def resolve_phases(config: DictConfig) -> tuple[Phase, ...]:
    """The phases that `searcher.phases` splits a run into; none if it says nothing.

    Raises:
        ConfigError: There are phases but no search.
        SpaceError: A phase is malformed.
    """
    sections: Any = OmegaConf.to_container(config.searcher, resolve=True).get("phases")  # type: ignore[union-attr]
    phases = read_phases(sections or [])
    if phases and config.callbacks.get("search") is None:
        raise ConfigError("searcher.phases needs a search: callbacks.search is null")
    return phases


def _sharing_supernet(phases: Sequence[Phase]) -> list[Phase]:
    """The first phase and those that go on with its supernet."""
    found = [phases[0]]
    for phase in phases[1:]:
        if phase.supernet != "continue":
            break
        found.append(phase)
    return found


def _settings(config: DictConfig, phase: Phase, folder: Path) -> DictConfig:
    """The configuration of a phase: its budget and its folder, wherever either is used."""
    constraint: Any = OmegaConf.to_container(config.constraint, resolve=True)
    if phase.constraint is not None:
        free = dict.fromkeys([metric.name for metric in cost_metrics()])
        constraint = OmegaConf.merge(constraint, free | dict(phase.constraint))
    place = {"run_dir": str(folder), "constraint": constraint}
    plain: Any = OmegaConf.to_container(with_settings(without_phases(config), place), resolve=True)
    if phase.constraint is not None:
        plain["callbacks"]["search"]["constraint"] = plain["constraint"]
    # Where a run goes on, its folder is written out wherever it is used.
    found = OmegaConf.create(moved(plain, str(config.run_dir), str(folder), below=False))
    assert isinstance(found, DictConfig)
    return found


def _read_best(folder: Path) -> Architecture:
    found = read_json(folder / BEST_FILE, HistoryError)
    return Architecture.from_dict(found["architecture"])
