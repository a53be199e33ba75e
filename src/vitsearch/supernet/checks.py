"""What a network refuses before it is built or run, so that nothing inside has to fail instead."""

from __future__ import annotations

from numbers import Integral

from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.spaces.plan import Plan

MOST_CLASSES = 2**31 - 1


def check_num_classes(num_classes: object) -> None:
    """Refuse what is no number of classes.

    Raises:
        ConfigError: It is no whole number, or out of range.
    """
    is_whole = isinstance(num_classes, Integral) and not isinstance(num_classes, bool)
    if not is_whole or num_classes < 0:  # type: ignore[operator]
        raise ConfigError(
            f"num_classes={num_classes} must be a whole number: 0 (no classifier) or more"
        )
    if num_classes > MOST_CLASSES:  # type: ignore[operator]
        raise ConfigError(f"num_classes={num_classes} must be at most {MOST_CLASSES}")


def check_images(images: Tensor, plan: Plan) -> None:
    """Refuse images that a plan is not for; compilers see sizes that they know already.

    Raises:
        ConfigError: They are no batch, or of another size, or of other channels.
    """
    wanted = plan.input_shape
    if images.dim() == 4 and images.shape[1:] == wanted:
        return
    raise ConfigError(
        f"images of shape {tuple(images.shape)} must be (B, {', '.join(map(str, wanted))}): a "
        f"batch of {plan.in_chans} channel(s), {wanted[1]} x {wanted[2]} pixels"
    )
