"""What vitsearch takes from timm without a promise: one private function, read at timm 1.0.31."""

from __future__ import annotations

from torch import nn

try:
    from timm.models._input import update_model_input_size
except ImportError:  # earlier versions have none, and need none
    update_model_input_size = None


def record_input_size(network: nn.Module, image_size: int | tuple[int, int]) -> None:
    """Tell timm that a network is now one for images of another size.

    Later versions of timm keep a model's own size beside that of the weights it came with, which
    `pretrained_cfg` tells.
    """
    if update_model_input_size is not None:
        update_model_input_size(network, image_size)
