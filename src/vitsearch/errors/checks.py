"""Whether a value is what a setting takes. One wording for one thought, wherever it is asked.

must be a whole number, 1 or more           must be true or false
must lie in [0, 1)                          is unknown; legal: mean, max
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from vitsearch.errors import ConfigError, VitSearchError

Error = type[VitSearchError]


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number; true and false are none."""
    return math.isfinite(value) if isinstance(value, float) else is_whole(value)


def check_whole(
    name: str,
    value: object,
    least: int | None = None,
    most: int | None = None,
    *,
    error: Error = ConfigError,
    otherwise: str = "",
) -> int:
    """A whole number.

    Args:
        name: Of the setting.
        value: What was given.
        least: Smallest legal value.
        most: Largest legal value.
        error: What to raise.
        otherwise: What the setting takes as well, for the message: `null`.

    Raises:
        VitSearchError: It is none, or out of range; of the class `error`.
    """
    if is_whole(value) and (least is None or value >= least) and (most is None or value <= most):
        return value
    bounds = "" if least is None else f", {least} or more"
    bounds = bounds if most is None else f" from {least} to {most}"
    raise error(f"{name}={value} must be a whole number{bounds}{_or(otherwise)}")


def check_size(
    name: str, value: object, *, any_shape: bool, error: Error = ConfigError
) -> int | tuple[int, int]:
    """The size of images: the side of a square, or height and width.

    Raises:
        VitSearchError: It is neither, or they differ where images are square; of the class `error`.
    """
    given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(given) > 2 or (len(set(map(str, given))) > 1 and not any_shape):
        legal = "one number, or height and width" if any_shape else "one number: images are square"
        raise error(f"{name}={given} must be {legal}")
    height, width = (check_whole(name, side, 1, error=error) for side in (given[0], given[-1]))
    return height if height == width else (height, width)


def check_number(
    name: str,
    value: object,
    interval: str,
    *,
    error: Error = ConfigError,
    otherwise: str = "",
) -> float:
    """A number in an interval, such as `[0, 1)` or `(0, inf)`.

    Raises:
        VitSearchError: It is none, or lies outside; of the class `error`.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    if is_number(value):
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if above and below:
            return float(value)
    words = f"lie in {interval}"
    if high == math.inf:
        words = f"be a number{'' if interval[0] == '[' else ' above'} {low:g}"
        words += " or more" if interval[0] == "[" else ""
    raise error(f"{name}={value} must {words}{_or(otherwise)}")


def check_flag(name: str, value: object, *, error: Error = ConfigError) -> bool:
    """True or false.

    Raises:
        VitSearchError: It is neither; of the class `error`.
    """
    if not isinstance(value, bool):
        raise error(f"{name}={value} must be true or false")
    return value


def check_one_of(
    name: str, value: object, legal: Sequence[str], *, error: Error = ConfigError
) -> str:
    """One of a few words.

    Raises:
        VitSearchError: It is none of them; of the class `error`.
    """
    if value not in legal:
        raise error(f"{name}={value} is unknown; legal: {', '.join(legal)}")
    return str(value)


def _or(otherwise: str) -> str:
    return f", or {otherwise}" if otherwise else ""
