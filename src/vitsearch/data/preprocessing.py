"""How a data module prepares images for evaluation, in words that a network's folder keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vitsearch.errors import DataError

_KEYS = ("mean", "std", "interpolation", "crop_pct")


def preprocessing_of(datamodule: object) -> dict[str, Any]:
    """What a data module says of its preprocessing, under timm's keys; what it does not is absent.

    The result is what `VisionTransformer.set_preprocessing` takes.

    Args:
        datamodule: Any; `mean`, `std`, `interpolation` and `crop_pct` are read where it has them.
    """
    found = {name: getattr(datamodule, name, None) for name in _KEYS}
    return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """Numbers of an array or a list as a tuple of floats; anything else as it is."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return tuple(float(number) for number in value)


def per_channel(
    name: str, value: float | Iterable[float] | None, default: tuple[float, ...], in_chans: int
) -> tuple[float, ...]:
    """A mean or a standard deviation as a user gave it, one number for each channel.

    Args:
        name: `mean` or `std`.
        value: One number, or one for each channel.
        default: Where there is none.
        in_chans: How many channels.

    Raises:
        DataError: There are more or fewer numbers, or a deviation is not above 0.
    """
    if value is None:
        return default
    values = (value,) * in_chans if isinstance(value, (int, float)) else tuple(value)
    if len(values) != in_chans:
        raise DataError(
            f"{name}={list(values)} has {len(values)} numbers; legal is one, or one for each of "
            f"in_chans={in_chans}"
        )
    if name == "std" and min(values) <= 0:
        raise DataError(f"std={list(values)} must be above 0")
    return tuple(float(number) for number in values)
