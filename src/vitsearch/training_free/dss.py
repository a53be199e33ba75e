"""DSS: diversity of attention, saliency of everything else.

Source: Training-free Transformer Architecture Search (Zhou et al., CVPR 2022), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitsearch.training_free.attention import attention_weights, has_attention
from vitsearch.training_free.base import Candidate, Requirement, TrainingFreeScore
from vitsearch.training_free.saliency import Saliency, saliencies


def dss(network: nn.Module, inputs: Tensor) -> float:
    """Diversity of the attention weights plus saliency of all others, in the setting of `synflow`.

    The diversity of a weight W is the nuclear norm of dR/dW times that of W, each weight as it is
    stored: one matrix of queries, keys and values in some layers, three in others. Which weights
    are attention's is known by the kind of layer, not by their shapes.

    Args:
        network: In evaluation mode; it stays as it is.
        inputs: Ones, in the network's number format; float64.
    """
    diverse = attention_weights(network)
    return sum(
        _diversity(saliency) if name in diverse else saliency.total
        for name, saliency in saliencies(network, inputs).items()
    )


def _diversity(saliency: Saliency) -> float:
    norms = [
        torch.linalg.matrix_norm(one.flatten(1), ord="nuc")
        for one in (saliency.gradient, saliency.weight)
    ]
    return float(norms[0] * norms[1])


def _compute(candidate: Candidate) -> float:
    return dss(candidate.network(torch.float64), candidate.ones(torch.float64))


DSS = TrainingFreeScore(
    name="dss",
    title="DSS (TF-TAS)",
    paper="Zhou et al., CVPR 2022",
    needs="one forward and backward pass of an image of ones, singular values of attention weights",
    compute=_compute,
    requires=Requirement(words="attention layers", holds=has_attention),
)
