"""Synaptic flow: what all weights carry of an image of ones, when they are positive.

Source: Zero-Cost Proxies for Lightweight NAS (Abdelfattah et al., ICLR 2021), section 3, after
Tanaka et al. (NeurIPS 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitsearch.training_free.base import Candidate, TrainingFreeScore
from vitsearch.training_free.saliency import saliencies


def synflow(network: nn.Module, inputs: Tensor) -> float:
    """Sum over linear layers and convolutions of abs(theta * dR/dtheta), R the sum of outputs.

    theta are absolute values. Without norms, biases and attention each product is positive, and
    every layer that all paths cross carries the same sum, R. Norms and attention stay in, so
    gradients have both signs, and without the absolute value what they say would cancel out.

    Args:
        network: In evaluation mode; it stays as it is.
        inputs: Ones, in the network's number format; float64, since sums grow with the depth.
    """
    return sum(saliency.total for saliency in saliencies(network, inputs).values())


def _compute(candidate: Candidate) -> float:
    return synflow(candidate.network(torch.float64), candidate.ones(torch.float64))


SYNFLOW = TrainingFreeScore(
    name="synflow",
    title="SynFlow",
    paper="Abdelfattah et al., ICLR 2021; Tanaka et al., NeurIPS 2020",
    needs="one forward and backward pass of an image of ones",
    compute=_compute,
)
