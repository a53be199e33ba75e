"""A run, resolved: what the commands make of a configuration before they do anything.

`resolve(config, folder)` of a command checks the settings, completes them with what they leave open
(the data of another run, the space of a checkpoint) and returns a `RunSpec`. From then on nothing
writes into the configuration: it is what `config.yaml` says.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch.commands.pretrained.section import converted, names_network
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.errors.checks import check_whole
from vitsearch.runs.resume import (
    ABSENT,
    MAY_CHANGE,
    first_differences,
    is_below,
    leaves,
    plain_config,
    read_config,
)
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.config import list_spaces, unknown_space

if TYPE_CHECKING:
    from vitsearch.supernet.converting.origin import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """A run: complete, checked, and read by whatever carries it out.

    Attributes:
        folder: Where everything goes.
        config: All settings, by section; what `config.yaml` says.
        part_of: The run that this one is a phase of; `None` for a run of its own.
    """

    folder: Path
    config: DictConfig
    part_of: RunSpec | None = None

    def records(self) -> dict[Path, DictConfig]:
        """What `config.yaml` says, by folder: here, and in the folder of the whole run."""
        own = {self.folder: self.config}
        return own if self.part_of is None else own | self.part_of.records()


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetSpec(RunSpec):
    """One training of a supernet: a whole run, or a phase of one.

    Attributes:
        space: Of the supernet.
        search_space: The part of it that is trained and searched.
        phase: Name of the phase; `None` for a whole run.
        weights: A checkpoint of the same supernet to begin with; `None` for fresh weights.
        origin: The pretrained network that training begins with; `None` for none.
    """

    space: SearchSpace
    search_space: SearchSpace
    phase: str | None = None
    weights: Path | None = None
    origin: Origin | None = None

    def carry_out(self, train: Train) -> None:
        """Train and search it."""
        train(self)


class Train(Protocol):
    """Trains and searches one supernet; returns the best architecture, if there was a search."""

    def __call__(self, run: SupernetSpec, /) -> Architecture | None:
        """Train, and search if the run has one."""


def with_settings(config: DictConfig, settings: Mapping[str, Any]) -> DictConfig:
    """A copy of a configuration, or of a section, with some settings in place of its own."""
    own = copy.deepcopy(config)
    with open_dict(own):
        for name, value in settings.items():
            own[name] = value
    return own


def without_phases(config: DictConfig) -> DictConfig:
    """A copy of a configuration whose searcher can be made: `phases` is no setting of searchers."""
    own = copy.deepcopy(config)
    for section in ("searcher", "callbacks.search.searcher"):  # a copy where a run goes on
        searcher = OmegaConf.select(own, section)
        if searcher is not None:
            with open_dict(searcher):
                searcher.pop("phases", None)
    return own


def resumed_config(config: DictConfig, folder: Path, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the run in a folder, for `resume=<folder>`.

    Args:
        config: What Hydra has composed, with the command's name.
        folder: The run folder.
        overrides: What the user wrote on the command line.

    Raises:
        ConfigError: It is a run of another command, its configuration is damaged, or an override
            would make it another run.
    """
    saved = read_config(folder)
    assert saved is not None
    if saved["command"] != config.command:
        raise ConfigError(
            f"resume={config.resume} holds a run of vitsearch.{saved['command']}, not of "
            f"vitsearch.{config.command}"
        )
    before, now = dict(leaves(saved)), dict(leaves(plain_config(config)))
    wrong = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group.replace("/", ".")
        for name in sorted(name for name in {*before, *now} if is_below(name, (key,))):
            old, new = before.get(name, ABSENT), now.get(name, ABSENT)
            if is_below(name, MAY_CHANGE):
                before[name] = new
            elif old != new and new is not None:  # null: filled in when the run began
                wrong.append(f"{name} was {old}, not {new}")
    if wrong:
        raise ConfigError(
            f"{config.resume} holds a run whose {first_differences(wrong)}; leave it out, or start "
            f"a run of its own without resume="
        )
    made = OmegaConf.create(saved)
    for name, value in before.items():
        if is_below(name, MAY_CHANGE) and value != ABSENT:
            OmegaConf.update(made, name, value, force_add=True)
    return with_settings(made, {"run_dir": str(folder), "resume": None})


def required_space(config: DictConfig) -> dict[str, Any]:
    """The configuration of the space that the command was given, or that of the network it named.

    Raises:
        SpaceError: There is none (the message lists the spaces), or a network cannot be converted.
    """
    given = config.get("space")
    if given is None:
        raise SpaceError(f"no space: add +space=<name>; spaces: {', '.join(list_spaces())}")
    if not isinstance(given, DictConfig):
        raise unknown_space(str(given))
    plain = OmegaConf.to_container(given, resolve=True)
    assert isinstance(plain, dict)
    named = {str(key): value for key, value in plain.items()}
    return converted(named) if names_network(named) else named


def check_seed(seed: object) -> None:
    """Refuse what cannot seed every random generator.

    Raises:
        ConfigError: Says what can.
    """
    check_whole("seed", seed, 0, 2**32 - 1)


def check_training(config: DictConfig) -> None:
    """Refuse a training that could not train.

    Raises:
        ConfigError: It has no end, or ends before it begins.
    """
    experiment: Any = config.get("experiment")  # a file that was found has been merged
    if experiment is not None:
        raise ConfigError(f"experiment={experiment} is no file on the search path")
    epochs = config.trainer.get("max_epochs")
    steps = config.trainer.get("max_steps")
    if steps in (None, -1):
        check_whole("trainer.max_epochs", epochs, 1, otherwise="-1 with trainer.max_steps")
        return
    check_whole("trainer.max_steps", steps, 1, otherwise="-1")
    if epochs not in (None, -1):
        check_whole("trainer.max_epochs", epochs, 1, otherwise="-1")
