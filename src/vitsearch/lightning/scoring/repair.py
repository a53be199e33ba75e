"""The calibration that sub-networks of a trained supernet are repaired from before they are scored.

It is to networks with LayerNorm what estimated statistics are to those with BatchNorm: one look at
training images, then each architecture is made ready by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.repairing.folding import is_repairable

CALIBRATION_IMAGES = 1000
"""Training images that are looked at."""


def check_repair(repair: object, net: SuperTransformer) -> bool:
    """Whether sub-networks are repaired, if a supernet allows it.

    Args:
        repair: A setting.
        net: The supernet.

    Raises:
        ConfigError: It is neither true nor false, or the supernet cannot be repaired.
    """
    if not check_flag("repair", repair):
        return False
    if net.has_batch_norm or not is_repairable(net):
        raise ConfigError(
            f"repair=true is for spaces of pretrained networks with model.sharing=prefix; space "
            f"{net.space.name} cannot be repaired: use repair=false"
        )
    return True


def calibrate_on(
    device: torch.device, net: SuperTransformer, batches: Iterable[Any]
) -> Calibration:
    """Calibrate a supernet on training images; every process on the same ones.

    Args:
        device: Where to; the supernet stays there.
        net: The supernet.
        batches: As a loader gives them.
    """
    like = next(net.to(device).parameters())
    return net.calibrate(read_images(batch).to(like) for batch in batches)
