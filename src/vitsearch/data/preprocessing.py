"""How a data module prepares images for evaluation, in words that a network's folder keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
