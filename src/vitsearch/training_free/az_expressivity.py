"""Expressivity of AZ-NAS: how evenly features spread over their directions.

Source: AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search (Lee and Ham, CVPR
2024), section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitsearch.training_free.base import Candidate, TrainingFreeScore
from vitsearch.training_free.half_blocks import TRANSFORMER_BLOCKS, half_blocks


def az_expressivity(network: nn.Module, images: Tensor) -> float:
    """Sum over half blocks of the entropy of the spectrum of the tokens behind them.

    A sum over depth: most of what it says is how many blocks there are.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W).
    """
    tokens = [half.after.detach().flatten(0, 1) for half in half_blocks(network, images)]
    return sum(spectral_entropy(one) for one in tokens)


def spectral_entropy(features: Tensor) -> float:
    """Entropy in nats of the eigenvalues of the covariance of features (M, C), adding up to 1.

    From 0, where all lies on a line or a point, to log C.
    """
    centred = features.double() - features.double().mean(dim=0)
    few = centred if len(centred) < centred.shape[1] else centred.mT
    values = torch.linalg.eigvalsh(few @ few.mT).clamp(min=0)  # but for zeros, of either product
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum())


def _compute(candidate: Candidate) -> float:
    return az_expressivity(candidate.network_on_images(), candidate.images)


AZ_EXPRESSIVITY = TrainingFreeScore(
    name="az_expressivity",
    title="expressivity (AZ-NAS)",
    paper="Lee and Ham, CVPR 2024",
    needs="one forward pass of a batch of images",
    compute=_compute,
    requires=TRANSFORMER_BLOCKS,
)
