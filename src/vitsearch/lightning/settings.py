"""Settings as plain data, which checkpoints may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload


@overload
def plain(settings: Mapping[str, Any]) -> dict[str, Any]: ...


@overload
def plain(settings: None) -> None: ...


def plain(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A plain dictionary, also from an OmegaConf node, so that checkpoints hold no classes."""
    return None if settings is None else {str(k): _value(v) for k, v in settings.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_value(item) for item in value]
    return value


def is_plain(value: Any) -> bool:
    """Whether a checkpoint may hold it."""
    if isinstance(value, dict | list):
        return all(map(is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, bool | int | float | str)


def per_channel(value: Any) -> tuple[float, ...] | None:
    """One number or several, as data modules have them."""
    if value is None or isinstance(value, int | float):
        return None if value is None else (float(value),)
    return tuple(float(number) for number in value)
