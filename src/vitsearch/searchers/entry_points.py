"""Searchers that other packages offer by entry points of the group `vitsearch.searchers`.

The entry point's object is a class or function `(space, constraint, *, num_classes, ...)` that
returns a `Searcher`; its further parameters with plain defaults are settings.
"""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vitsearch.errors import ConfigError

ENTRY_POINT_GROUP = "vitsearch.searchers"
_GIVEN = ("space", "constraint", "num_classes", "measure")


def offered_searchers() -> dict[str, EntryPoint]:
    """The entry points, by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def searcher_config(entry_point: EntryPoint) -> dict[str, Any]:
    """The configuration of a searcher, like a file of `conf/searcher`: its settings by name.

    A parameter `seed` follows the seed of the run.

    Raises:
        ConfigError: The object cannot be imported, or cannot be called.
    """
    described = f"searcher {entry_point.name} ({entry_point.value})"
    try:
        made = entry_point.load()
    except Exception as error:
        raise ConfigError(f"{described} cannot be loaded: {error}") from error
    if not callable(made):
        raise ConfigError(
            f"{described} must be a class or a function that returns a searcher, not "
            f"{type(made).__name__}"
        )
    settings = {
        name: _plain(parameter.default)
        for name, parameter in inspect.signature(made).parameters.items()
        if name not in _GIVEN and _is_plain(parameter.default)
    }
    if "seed" in settings:
        settings["seed"] = "${seed}"
    target = f"{entry_point.module}.{entry_point.attr}"
    return {"_target_": target, "_partial_": True, **settings}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
