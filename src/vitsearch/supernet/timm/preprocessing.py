"""What a network expects of its images, under timm's keys (`pretrained_cfg`).

A data module says how it prepared the images that a network was trained on; the network keeps it,
its model folder holds it, and timm's `resolve_data_config` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timm.data.constants import (
    DEFAULT_CROP_PCT,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
)

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import is_number
from vitsearch.spaces.flow import ImageSize, sides

PREPROCESSING = ("mean", "std", "interpolation", "crop_pct")
"""The keys that belong to the images that a network has seen, not to its architecture."""

TIMM_NAME = "vitsearch"
"""timm's name of a network of any space; published ones have names of their own."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


def default_preprocessing(in_chans: int) -> dict[str, Any]:
    """ImageNet's and timm's values; where channels are not three, the mean over ImageNet's."""
    mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    if in_chans != 3:
        mean, std = ((round(sum(values) / 3, 3),) * in_chans for values in (mean, std))
    return {"mean": mean, "std": std, "interpolation": "bicubic", "crop_pct": DEFAULT_CROP_PCT}


def make_pretrained_cfg(
    *,
    image_size: ImageSize,
    in_chans: int,
    num_classes: int,
    first_conv: str,
    classifiers: Sequence[str],
) -> dict[str, Any]:
    """What timm wants to know of a model, with `default_preprocessing`.

    Args:
        image_size: Of the input, pixels: the side of a square, or height and width.
        in_chans: Channels of the input.
        num_classes: Outputs of the classifier.
        first_conv: Name of the module whose `weight` meets the image.
        classifiers: Names of the classifiers.
    """
    return {
        "architecture": TIMM_NAME,
        "num_classes": num_classes,
        "input_size": (in_chans, *sides(image_size)),
        "fixed_input_size": True,
        "pool_size": None,
        "crop_mode": "center",
        **default_preprocessing(in_chans),
        "first_conv": first_conv,
        "classifier": classifiers[0] if len(classifiers) == 1 else tuple(classifiers),
    }


def checked_preprocessing(given: Mapping[str, Any], in_chans: int) -> dict[str, Any]:
    """Some or all of `PREPROCESSING`, with one mean and deviation for each channel.

    Raises:
        ConfigError: A key is unknown, or a value is not legal.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("mean", "std"):
            checked[name] = _per_channel(name, value, in_chans)
        elif name == "interpolation":
            if value not in INTERPOLATIONS:
                raise ConfigError(f"interpolation={value!r} is none of {', '.join(INTERPOLATIONS)}")
            checked[name] = value
        elif name == "crop_pct":
            if not is_number(value) or not 0 < value <= 1:
                raise ConfigError(f"crop_pct={value!r} must be above 0, at most 1")
            checked[name] = float(value)
        else:
            raise ConfigError(f"preprocessing has no {name}; legal: {', '.join(PREPROCESSING)}")
    return checked


def _per_channel(name: str, value: Any, in_chans: int) -> tuple[float, ...]:
    values = [value] if is_number(value) else value
    if not isinstance(values, Sequence) or not values or not all(map(is_number, values)):
        raise ConfigError(f"{name}={value!r} must be a number for each channel")
    if len(values) not in (1, in_chans):
        raise ConfigError(f"{name}={value!r} has {len(values)} numbers for {in_chans} channel(s)")
    if name == "std" and min(values) <= 0:
        raise ConfigError(f"std={value!r} must be above 0")
    numbers = tuple(float(number) for number in values)
    return numbers * in_chans if len(numbers) == 1 else numbers
