"""`resume=<folder>`: the configuration of the run that a folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from vitsearch.commands.spec import with_settings
from vitsearch.errors import ConfigError
from vitsearch.runs.resume import (
    ABSENT,
    MAY_CHANGE,
    first_differences,
    is_below,
    leaves,
    plain_config,
    read_config,
)


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
