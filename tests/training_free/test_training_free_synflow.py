"""SynFlow and DSS against sums that are written out layer by layer."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from tests.every_space import perturbed, quick_space
from torch import Tensor, nn

from vitsearch import VisionTransformer
from vitsearch.training_free.attention import attention_weights
from vitsearch.training_free.dss import dss
from vitsearch.training_free.saliency import saliencies, weight_names
from vitsearch.training_free.synflow import synflow

WIDTHS = [5, 7, 4, 3]


def linear_network() -> nn.Sequential:
    """Linear layers without biases, and ReLUs, in float64; weights of both signs."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in pairwise(WIDTHS):
        layers += [nn.Linear(before, after, bias=False), nn.ReLU()]
    return nn.Sequential(*layers).double()


def test_synflow_is_what_a_loop_over_layers_adds_up() -> None:
    network, inputs = linear_network(), torch.ones(1, WIDTHS[0], dtype=torch.float64)
    weights = [layer.weight.detach().abs() for layer in network if isinstance(layer, nn.Linear)]
    forward = [inputs[0]]  # all is positive, so ReLU does nothing
    for weight in weights:
        forward.append(weight @ forward[-1])
    backward = [torch.ones(WIDTHS[-1], dtype=torch.float64)]
    for weight in reversed(weights[1:]):
        backward.insert(0, weight.T @ backward[0])
    total = 0.0
    for weight, before, behind in zip(weights, forward[:-1], backward, strict=True):
        for row in range(weight.shape[0]):
            for column in range(weight.shape[1]):
                total += float(weight[row, column] * behind[row] * before[column])
    assert synflow(network, inputs) == pytest.approx(total, rel=1e-12)


def test_every_layer_carries_the_same_flow() -> None:
    network, inputs = linear_network(), torch.ones(1, WIDTHS[0], dtype=torch.float64)
    flows = [saliency.total for saliency in saliencies(network, inputs).values()]
    absolute = copy.deepcopy(network)
    for parameter in absolute.parameters():
        parameter.data.abs_()
    assert len(flows) == 3
    assert flows == pytest.approx([float(absolute(inputs).sum().detach())] * 3, rel=1e-12)


def residual_flows() -> tuple[VisionTransformer, Tensor]:
    space = quick_space("small ResNet of bottlenecks")
    network = VisionTransformer(space, space.largest(), 10).double().eval()
    return network, torch.ones(1, *space.input_shape, dtype=torch.float64)


def test_a_convolutional_network_keeps_the_flow_from_stem_to_head() -> None:
    network, inputs = residual_flows()
    flows = {name: one.total for name, one in saliencies(network, inputs).items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
        total = float(network(inputs).sum())
    first, last = weight_names(network)[0], weight_names(network)[-1]
    # BatchNorms are without a shift and there are no other biases: all paths cross both layers.
    assert flows[first] == pytest.approx(total, rel=1e-9)
    assert flows[last] == pytest.approx(total, rel=1e-9)


def test_the_network_stays_as_it_is() -> None:
    space = quick_space("autoformer")
    network = perturbed(VisionTransformer(space, space.smallest(), 10).double().eval())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inputs = torch.ones(1, *space.input_shape, dtype=torch.float64)
    synflow(network, inputs)
    dss(network, inputs)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


ATTENTION = {
    "glit": ("attn.qkv.weight", "attn.proj.weight"),
    "vitas": ("qk.shared.weight", "v.shared.weight", "mixer.proj.weight"),
    "autoformer": ("mixer.qkv.weight", "mixer.proj.weight"),
}


@pytest.mark.parametrize("family", ATTENTION)
def test_dss_is_nuclear_norms_of_attention_and_saliency_of_the_rest(family: str) -> None:
    space = quick_space(family)
    network = VisionTransformer(space, space.smallest(), 10).double().eval()
    inputs = torch.ones(1, *space.input_shape, dtype=torch.float64)
    plain = copy.deepcopy(network)
    for parameter in plain.parameters():
        parameter.data.abs_()
    plain(inputs).sum().backward()
    endings = ATTENTION[family]
    if family == "vitas":  # projections are private to the number of heads
        private = next(n for n, _ in plain.named_parameters() if ".qk." in n).split(".qk.")[1]
        endings = (f"qk.{private}", *endings[1:])
    diverse, salient, number = 0.0, 0.0, 0
    for name, parameter in plain.named_parameters():
        if not name.endswith(".weight") or parameter.dim() < 2:
            continue
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if name.endswith(endings):
            number += 1
            left, right = (
                math.fsum(torch.linalg.svd(one.detach(), full_matrices=False).S.tolist())
                for one in (gradient, parameter)
            )
            diverse += left * right
        else:
            salient += float((gradient * parameter.detach()).abs().sum())
    assert number == len(endings) * len(network.plan.stages[0].blocks)
    assert len(attention_weights(network)) == number
    assert dss(network, inputs) == pytest.approx(diverse + salient, rel=1e-10)
    assert diverse > salient
