"""Objects by their dotted names, as configuration files have them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vitsearch.errors import ConfigError


def find_object(dotted: str, setting: str) -> Any:
    """What `package.module.name` stands for.

    Args:
        dotted: The name.
        setting: Which setting it is the value of.

    Raises:
        ConfigError: There is no such thing.
    """
    module, _, name = dotted.rpartition(".")
    if not module:
        raise ConfigError(f"{setting}={dotted} must be a dotted name, package.module.name")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{setting}={dotted} cannot be imported: {error}") from error
