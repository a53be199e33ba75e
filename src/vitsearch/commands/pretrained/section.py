"""The section `+space=timm`: which network, and what the run makes of it.

It is resolved once: the run's `config.yaml` says the space that came out, and the section stands
in it under `origin`, as a record and for a start before anything was saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vitsearch.errors import ConfigError

if TYPE_CHECKING:
    from vitsearch.supernet.converting.origin import Origin

RECORDED = "origin"
_WHAT = {
    "image_size": ("px", "its position embeddings are resampled"),
    "in_chans": ("channel(s)", "its first convolution is adapted"),
}


def names_network(space: Mapping[str, Any]) -> bool:
    """Whether a section of a space names a network to convert; spaces have a stem."""
    return "model" in space and "stem" not in space


def converted(space: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the space that a section stands for.

    Raises:
        SpaceError: The network cannot be converted.
    """
    from vitsearch.supernet.converting.origin import Origin  # takes time, and torch

    return Origin.read(space).space_config()


def origin_of(config: DictConfig) -> Origin | None:
    """The pretrained network that a run begins with: named now, or recorded when it began.

    Raises:
        SpaceError: A setting is unknown.
    """
    found = config.get("space")
    if not isinstance(found, DictConfig) or not names_network(found):
        found = config.get(RECORDED)
    if found is None:
        return None
    from vitsearch.supernet.converting.origin import Origin

    section: Any = OmegaConf.to_container(found, resolve=True)
    return Origin.read(section)


def check_images(data: DictConfig, space: Mapping[str, Any], origin: Origin) -> None:
    """Refuse data of another image size or other channels than the network's.

    Raises:
        ConfigError: Names both settings that would help.
    """
    for name, (unit, effect) in _WHAT.items():
        given = data.get(name)
        if given is not None and given != space[name]:
            raise ConfigError(
                f"data.{name}={given}, but {space['name']} sees {space[name]} {unit}: add "
                f"space.{name}={given} ({effect}), or data.{name}={space[name]}"
            )
