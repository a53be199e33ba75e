"""Spaces by name: YAML files of `conf/space`, and spaces that other packages offer as entry points.

A space's file names its parts in a defaults list (`- mixer: glit`), each a file of its own; keys
below override them. Hydra composes the same files for the commands; this module does it for
`vitsearch.build_space`, so that the library itself does not need Hydra.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from vitsearch.errors import SpaceError
from vitsearch.spaces.settings import SECTIONS
from vitsearch.spaces.space import SearchSpace

ENTRY_POINT_GROUP = "vitsearch.spaces"
CONVERTED = "timm"
"""The file of `conf/space` that is no space: it names a network, of which commands make one."""


def config_dir() -> Path:
    """The folder of configuration files: inside an installed wheel, or the checkout's `conf/`."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def list_spaces() -> list[str]:
    """The names that `build_space` and `+space=` understand, sorted."""
    files = {path.stem for path in (config_dir() / "space").glob("[!_]*.yaml")} - {CONVERTED}
    return sorted(files | set(_entry_points()))


def build_space(name: str, **overrides: Any) -> SearchSpace:
    """The space with this name, with settings changed.

    Args:
        name: One of `list_spaces()`, or the path of a YAML file of one's own.
        **overrides: Settings by key (`num_blocks=8`), by section (`mlp={"ratios": [2, 3]}`), by
            dotted path (`**{"mlp.ratios": [2, 3]}`), or a part by its name (`mixer="glit"`).

    Raises:
        SpaceError: An unknown space, part or setting, or a value out of range.
    """
    config = OmegaConf.create(space_config(name))
    for key, value in overrides.items():
        try:
            if key in SECTIONS and isinstance(value, str):
                OmegaConf.update(config, key, _part(key, value), merge=False, force_add=True)
            else:
                OmegaConf.update(config, key, value, merge=True, force_add=True)
            OmegaConf.resolve(config)
        except (OmegaConfBaseException, ValueError) as error:
            if isinstance(error, SpaceError):
                raise
            reason = str(error).splitlines()[0]
            raise SpaceError(f"{key}={value!r} is no setting of space {name}: {reason}") from error
    return SearchSpace(_plain(config))


def space_config(name: str) -> dict[str, Any]:
    """The configuration of a named space, its parts put in.

    Raises:
        SpaceError: No such space; the message lists those there are.
    """
    if name == CONVERTED:
        raise SpaceError(
            "space timm is made of a network: use vitsearch.from_timm(<timm's name>).space, or "
            "+space=timm space.model=<timm's name> with a command"
        )
    path = config_dir() / "space" / f"{name}.yaml"
    if path.is_file():
        return _plain(_compose(path))
    offered = _entry_points()
    if name in offered:
        return entry_point_config(offered[name])
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            names = ", ".join(list_spaces())
            raise SpaceError(f"space file {name} does not exist; spaces by name: {names}")
        return _plain(_compose(Path(name)))
    raise unknown_space(name)


def unknown_space(name: str) -> SpaceError:
    """The error for a name that is no space: one line with the nearest name and all names."""
    names = list_spaces()
    close = get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return SpaceError(f"space {name} is unknown; {hint}spaces: {', '.join(names)}")


def entry_point_config(entry_point: EntryPoint) -> dict[str, Any]:
    """The configuration behind an entry point of the group `vitsearch.spaces`.

    The entry point's object is a mapping with the keys of `conf/space/*.yaml`, a `SearchSpace`, or
    a function without arguments that returns one of them.

    Raises:
        SpaceError: The object cannot be imported or is none of these.
    """
    try:
        offered = entry_point.load()
        if callable(offered) and not isinstance(offered, SearchSpace):
            offered = offered()
    except Exception as error:
        raise SpaceError(
            f"space {entry_point.name} ({entry_point.value}) cannot be loaded: {error}"
        ) from error
    if isinstance(offered, SearchSpace):
        return offered.config
    if not isinstance(offered, Mapping):
        raise SpaceError(
            f"space {entry_point.name} ({entry_point.value}) must be a mapping, a SearchSpace, or "
            f"a function that returns one, not {type(offered).__name__}"
        )
    return {"name": entry_point.name, **_plain(OmegaConf.create(dict(offered)))}


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _part(section: str, name: str) -> DictConfig:
    path = config_dir() / "space" / section / f"{name}.yaml"
    if not path.is_file():
        legal = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise SpaceError(f"space/{section}={name} is unknown; legal: {legal}")
    return _compose(path)


def _load(path: Path) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise SpaceError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise SpaceError(f"{path} must hold settings by name")
    return config


def _compose(path: Path) -> DictConfig:
    own = _load(path)
    composed = OmegaConf.create({})
    defaults = own.pop("defaults", [])
    if not isinstance(defaults, ListConfig) and defaults != []:
        raise SpaceError(f"{path}: defaults={defaults} must be a list")
    for entry in defaults:
        if entry == "_self_":
            continue  # a file's own keys always come last
        if isinstance(entry, str):
            base = path.parent / f"{entry}.yaml"
            if not base.is_file():
                raise SpaceError(f"{path}: defaults has {entry}, but {base} does not exist")
            composed.merge_with(_compose(base))
            continue
        if not isinstance(entry, DictConfig):
            raise SpaceError(f"{path}: defaults has {entry!r}; give a file, or section: part")
        for section, name in entry.items():
            composed[str(section)] = _part(str(section), str(name))
    merged = OmegaConf.merge(composed, own)
    assert isinstance(merged, DictConfig)
    return merged


def _plain(config: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
