"""NASWOT: how differently a network's activations switch on and off for different images.

Source: Neural Architecture Search without Training (Mellor et al., ICML 2021), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitsearch.training_free.activations import PreActivations
from vitsearch.training_free.base import Candidate, TrainingFreeScore


def naswot(network: nn.Module, images: Tensor) -> float:
    """Logarithm of the determinant of `agreement_kernel`.

    Minus infinity where two images switch the same units, or there is no activation.
    """
    return float(torch.linalg.slogdet(agreement_kernel(network, images)).logabsdet)


@torch.no_grad()
def agreement_kernel(network: nn.Module, images: Tensor) -> Tensor:
    """(B, B) in float64: how many units are on or off alike for images i and j.

    A unit is one number that enters an activation; it is on where that is above 0. For ReLU this is
    the paper's code. GELU and Swish have no exact zeros: there the sign stands for it.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W).
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def add(entered: Tensor) -> None:
        signs = torch.where(entered.flatten(1) > 0, 1.0, -1.0)
        # What two images have alike, less what they have not, is signs @ signs.T.
        kernel.add_((signs @ signs.T).double().add_(signs.shape[1]).div_(2))

    with PreActivations(add):
        network(images)
    return kernel


def _compute(candidate: Candidate) -> float:
    return naswot(candidate.network_on_images(), candidate.images)


NASWOT = TrainingFreeScore(
    name="naswot",
    title="NASWOT",
    paper="Mellor et al., ICML 2021",
    needs="one forward pass of a batch of images",
    compute=_compute,
)
