"""How much of what a network gives goes through each weight, when all weights are positive.

Source: Pruning neural networks without any data by iteratively conserving synaptic flow (Tanaka et
al., NeurIPS 2020), section 5.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Saliency(NamedTuple):
    """A weight of a linear layer or a convolution under synaptic flow.

    Attributes:
        weight: Absolute values.
        gradient: Of the sum R of all outputs, in the same shape.
    """

    weight: Tensor
    gradient: Tensor

    @property
    def total(self) -> float:
        """Sum of abs(weight * dR/dweight)."""
        return float((self.weight * self.gradient).abs().sum())


def saliencies(network: nn.Module, inputs: Tensor) -> dict[str, Saliency]:
    """What `synflow` and `dss` add up, for each weight of a linear layer or a convolution.

    All parameters are replaced by their absolute values; the network itself stays as it is. Weights
    that the outputs do not depend on have a gradient of 0.

    Args:
        network: In evaluation mode.
        inputs: Ones, in the network's number format.
    """
    own = {name: p.detach().abs().requires_grad_() for name, p in network.named_parameters()}
    outputs = torch.func.functional_call(network, own, (inputs,))
    names = weight_names(network)
    gradients = torch.autograd.grad(
        outputs.sum(), [own[name] for name in names], allow_unused=True, materialize_grads=True
    )
    return {
        name: Saliency(own[name].detach(), gradient)
        for name, gradient in zip(names, gradients, strict=True)
    }


def weight_names(network: nn.Module) -> list[str]:
    """The weights of linear layers and convolutions: called `weight`, with two or more dimensions.

    So neither norms nor biases, positions, tokens and tables are among them.
    """
    return [
        name
        for name, parameter in network.named_parameters()
        if name.rpartition(".")[2] == "weight" and parameter.dim() > 1
    ]
