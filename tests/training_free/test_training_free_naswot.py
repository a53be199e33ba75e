"""NASWOT's kernel against a double loop over images; which activations are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.every_space import quick_space
from torch import Tensor, nn

from vitsearch import VisionTransformer
from vitsearch.training_free.activations import PreActivations
from vitsearch.training_free.naswot import agreement_kernel, naswot


class Mixed(nn.Module):
    """GELU, Swish and ReLU, one of them twice as wide, and a gate that is none of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 16), nn.Linear(8, 5)])

    def forward(self, x: Tensor) -> Tensor:
        second = self.layers[1](F.gelu(self.layers[0](x)))
        gated = F.glu(F.silu(second), dim=1)
        return torch.relu(self.layers[2](gated))


def test_the_kernel_is_what_a_loop_over_images_counts() -> None:
    network, images = Mixed(), torch.randn(7, 6)
    with torch.no_grad():
        first = network.layers[0](images)
        second = network.layers[1](F.gelu(first))
        third = network.layers[2](F.glu(F.silu(second), dim=1))
    codes = torch.cat([first > 0, second > 0, third > 0], dim=1).tolist()
    expected = [
        [sum(a == b for a, b in zip(left, right, strict=True)) for right in codes] for left in codes
    ]
    kernel = agreement_kernel(network, images)
    assert kernel.tolist() == expected
    assert kernel.diagonal().tolist() == [29.0] * 7
    assert naswot(network, images) == pytest.approx(np.linalg.slogdet(np.array(expected))[1])


def test_images_that_switch_alike_have_no_volume() -> None:
    images = torch.randn(3, 6)
    assert naswot(Mixed(), torch.cat([images, images[:1]])) == -float("inf")
    assert naswot(nn.Linear(6, 2), images) == -float("inf")


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        (F.relu, True),
        (torch.relu, True),
        (lambda x: x.relu(), True),
        (nn.ReLU(inplace=False), True),
        (F.gelu, True),
        (lambda x: F.gelu(x, approximate="tanh"), True),
        (nn.GELU(), True),
        (F.silu, True),
        (F.hardswish, True),
        (lambda x: x * torch.sigmoid(1.702 * x), True),
        (lambda x: x * x.sigmoid(), True),
        (torch.sigmoid, False),
        (lambda x: F.glu(x, dim=1), False),
        (lambda x: x * x.sigmoid()[:, :1], False),
        (lambda x: x * 2, False),
    ],
)
def test_what_counts_as_an_activation(call: Callable[[Any], Tensor], seen: bool) -> None:
    entered: list[Tensor] = []
    x = torch.randn(3, 4)
    with PreActivations(entered.append):
        call(x)
    assert len(entered) == int(seen)
    assert all(torch.equal(one > 0, x > 0) for one in entered)


@pytest.mark.parametrize(
    ("family", "units"),
    [
        # MLPs of 49 patches and a class token; GLiT's local modules have a Swish of their own.
        ("autoformer", lambda plan: sum(50 * b.mlp.hidden_dim for b in plan.stages[0].blocks)),
        (
            "glit",
            lambda plan: sum(
                50 * (b.mlp.hidden_dim + (b.mixer.local_inner if b.mixer.local_dim else 0))
                for b in plan.stages[0].blocks
            ),
        ),
    ],
)
def test_the_units_of_a_transformer(family: str, units: Callable[[Any], int]) -> None:
    space = quick_space(family)
    network = VisionTransformer(space, space.largest(), 10).eval()
    patches = network.plan.stem.num_patches
    kernel = agreement_kernel(network, torch.randn(2, *space.input_shape))
    assert kernel[0, 0] == units(network.plan) / 50 * (patches + 1)
